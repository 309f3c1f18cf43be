package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"time"
)

//go:embed templates/*.html static/*
var files embed.FS

// contentSecurityPolicy lets nothing in but what labd itself serves: no inline script or style, no other host, no frame
// around the page, and HTML into the document only through the page's one named policy.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types labd"

// Config is what the page is made from.
type Config struct {
	// API answers the reports that the page shows; whoever sees the page may see them.
	API http.Handler
	// Version is labd's.
	Version string
	Now     func() time.Time
	Log     *slog.Logger
}

// asset is a file of the page, under a name that changes with its content.
type asset struct {
	data []byte
	kind string
}

// page serves the page.
type page struct {
	Config
	templates *template.Template
	// assets are by path; hashed gives the path of a file.
	assets map[string]asset
	hashed map[string]string
}

// New returns a handler of the page at / and of its files below /assets/.
func New(cfg Config) (http.Handler, error) {
	p := &page{Config: cfg, assets: map[string]asset{}, hashed: map[string]string{}}
	if err := p.readAssets(); err != nil {
		return nil, fmt.Errorf("prepare the page: %w", err)
	}
	var err error
	p.templates, err = template.New("page").Funcs(template.FuncMap{"asset": func(name string) string { return p.hashed[name] }}).Funcs(functions()).ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("prepare the page: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.serve)
	mux.HandleFunc("GET /assets/", p.serveAsset)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/" + p.hashed["favicon.svg"]
		p.serveAsset(w, r)
	})
	return mux, nil
}

func (p *page) readAssets() error {
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	return fs.WalkDir(files, "static", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := files.ReadFile(file)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		name := path.Base(file)
		// Relative to the page, so that it works below any path of a reverse proxy.
		p.hashed[name] = "assets/" + hex.EncodeToString(sum[:6]) + "/" + name
		p.assets["/"+p.hashed[name]] = asset{data, kinds[path.Ext(name)]}
		return nil
	})
}

// secure sets the headers of every answer.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

func (p *page) serveAsset(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	a, ok := p.assets[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.data)
}

// serve renders the page from the reports of this moment. What cannot be read is said on the page.
func (p *page) serve(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	query := r.URL.Query()
	view := newView(p.read(r.Context()), options{
		Filter: query.Get("q"), Kiosk: query.Get("kiosk") == "1", Version: p.Version, Now: p.Now(),
	})
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, "page.html", view); err != nil {
		p.Log.Error("page not rendered", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(b.Bytes())
}
