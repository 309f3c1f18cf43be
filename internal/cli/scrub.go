package cli

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
)

const masked = "[masked]"

// secrets are what may look like a secret in text that labd passes on: the kernel's, PVE's and Docker's words. The
// fields of a support bundle hold none; this is for the case that such text quotes one.
var secrets = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*KEY-----.*?(?:-----END [A-Z ]*KEY-----|$)`), masked},
	// A token of PVE or PBS: user@realm!name=secret.
	{regexp.MustCompile(`([\w.+-]+@[\w.-]+![\w.-]+)[=:][0-9A-Za-z-]+`), "$1=" + masked},
	{regexp.MustCompile(`\b(ntfy|gotify|discord|slack|telegram)://\S+`), "$1://" + masked},
	{regexp.MustCompile(`(\b[a-z][a-z0-9+.-]*://)[^\s/@"']+@`), "$1" + masked + "@"},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`), "$1 " + masked},
	{regexp.MustCompile(`(?i)\b(PVE(?:Auth)?(?:Cookie)?[:=]\S+|PVE:[^\s:]+:[0-9A-F]{8}::\S+)`), masked},
	{regexp.MustCompile(`(?i)(["']?\b[\w-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|encryption[_-]key|master[_-]pubkey|private[_-]key|keyring|credentials?)\b["']?\s*[=:]\s*)(?:"[^"]*"|'[^']*'|[^\s,;}]+)`), "$1" + masked},
	// What is long and without a break is a key, not a word: no path, since those have slashes.
	{regexp.MustCompile(`[A-Za-z0-9+_-]{40,}={0,2}`), masked},
}

// scrub masks what looks like a secret.
func scrub(text string) string {
	for _, s := range secrets {
		text = s.pattern.ReplaceAllString(text, s.with)
	}
	return text
}

// eachString replaces every string in value, which is a pointer, by what change makes of it; keys of maps as well.
func eachString(value any, change func(string) string) {
	walk(reflect.ValueOf(value), change)
}

func walk(v reflect.Value, change func(string) string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walk(v.Elem(), change)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				walk(v.Field(i), change)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), change)
		}
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			return
		}
		for _, key := range v.MapKeys() {
			value := v.MapIndex(key)
			v.SetMapIndex(key, reflect.Value{})
			v.SetMapIndex(reflect.ValueOf(change(key.String())).Convert(v.Type().Key()), value)
		}
	case reflect.String:
		if v.CanSet() {
			v.SetString(change(v.String()))
		}
	}
}

// redactor replaces what tells one machine from another: the given names, each by its word, and ids of file systems and
// namespaces wherever they stand. Longer names go first, so that a part of one does not spoil it.
func redactor(names map[string]string) func(string) string {
	var list []string
	for name := range names {
		if len(name) > 2 {
			list = append(list, name)
		}
	}
	slices.SortFunc(list, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	pairs := make([]string, 0, 2*len(list))
	for _, name := range list {
		pairs = append(pairs, name, names[name])
	}
	replacer := strings.NewReplacer(pairs...)
	return func(text string) string {
		return ids.ReplaceAllString(byID.ReplaceAllString(replacer.Replace(text), "${1}ID"), "ID")
	}
}
