// The chosen theme, before the first paint.
try {
  const theme = localStorage.getItem("labd-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* no storage: the system's theme */ }
