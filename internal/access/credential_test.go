package access

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const signature = "c2lnbmF0dXJlIG9mIHRoZSB0aWNrZXQ="

func TestParseTicket(t *testing.T) {
	for name, test := range map[string]struct {
		text, user string
		want       error
	}{
		"login":               {"PVE:ana@pve:68A1B2C3::" + signature, "ana@pve", nil},
		"colon in the name":   {"PVE:a%3Ab@pve:68A1B2C3::" + signature, "", ErrMalformed},
		"name with !":         {"PVE:a!b@pve:68A1B2C3::" + signature, "a!b@pve", nil},
		"half a login":        {`PVE:!tfa!{"totp"%3Atrue}:68A1B2C3::` + signature, "", ErrHalfLogin},
		"half, older form":    {"PVE:tfa!ana@pve:68A1B2C3::" + signature, "", ErrHalfLogin},
		"half, u2f":           {"PVE:u2f!ana@pve!abc:68A1B2C3::" + signature, "", ErrHalfLogin},
		"console":             {"PVEVNC:68A1B2C3::" + signature, "", ErrOtherTicket},
		"tunnel":              {"PVETUNNEL:68A1B2C3::" + signature, "", ErrOtherTicket},
		"mail gateway":        {"PMG:ana@pmg:68A1B2C3::" + signature, "", ErrMalformed},
		"no realm":            {"PVE:ana:68A1B2C3::" + signature, "", ErrMalformed},
		"no time":             {"PVE:ana@pve::" + signature, "", ErrMalformed},
		"small hex":           {"PVE:ana@pve:68a1b2c3::" + signature, "", ErrMalformed},
		"no signature":        {"PVE:ana@pve:68A1B2C3::", "", ErrMalformed},
		"line break in it":    {"PVE:ana@pve:68A1B2C3::" + signature + "\r\nX: y", "", ErrMalformed},
		"blank in the name":   {"PVE:a na@pve:68A1B2C3::" + signature, "", ErrMalformed},
		"NUL in the name":     {"PVE:a\x00na@pve:68A1B2C3::" + signature, "", ErrMalformed},
		"very long name":      {"PVE:" + strings.Repeat("a", 100) + "@pve:68A1B2C3::" + signature, "", ErrMalformed},
		"nothing":             {"", "", ErrMalformed},
		"path in the name":    {"PVE:../x@pve:68A1B2C3::" + signature, "", ErrMalformed},
		"token as a ticket":   {"PVE:ana@pve!ci:68A1B2C3::" + signature, "", ErrMalformed},
		"realm with a letter": {"PVE:ana@1pve:68A1B2C3::" + signature, "", ErrMalformed},
	} {
		c, err := ParseTicket(test.text)
		if !errors.Is(err, test.want) || c.User != test.user {
			t.Errorf("%s: %q, %v", name, c.User, err)
		}
	}
}

func TestParseToken(t *testing.T) {
	for text, user := range map[string]string{
		"ana@pve!ci=11112222-3333": "ana@pve!ci", "a!b@pve!ci=s": "a!b@pve!ci", "ana@pve!ci=a=b": "ana@pve!ci",
		"ana@pve=secret": "", "ana!ci=secret": "", "ana@pve!ci=": "", "ana@pve!ci": "", "ana@pve!=s": "", "ana@pve!1=s": "", "ana@pve!ci=s\r\nX: y": "", "=s": "",
	} {
		c, err := ParseToken(text)
		if (err == nil) != (user != "") || c.User != user {
			t.Errorf("%q: %q, %v", text, c.User, err)
		}
	}
}

func TestFromRequest(t *testing.T) {
	ticket, token := "PVE:ana@pve:68A1B2C3::"+signature, "PVEAPIToken=bob@pve!ci=secret"
	for name, test := range map[string]struct {
		header http.Header
		user   string
		cookie bool
		want   error
	}{
		"nothing":                {http.Header{}, "", false, ErrNoCredential},
		"token":                  {http.Header{"Authorization": {token}}, "bob@pve!ci", false, nil},
		"cookie":                 {http.Header{"Cookie": {CookieName + "=" + url.QueryEscape(ticket)}}, "ana@pve", true, nil},
		"cookie as PVE sets it":  {http.Header{"Cookie": {CookieName + "=" + strings.NewReplacer(":", "%3A", "=", "%3D").Replace(ticket)}}, "ana@pve", true, nil},
		"the cookie wins":        {http.Header{"Cookie": {CookieName + "=" + url.QueryEscape(ticket)}, "Authorization": {token}}, "ana@pve", true, nil},
		"a bad cookie wins too":  {http.Header{"Cookie": {CookieName + "=x"}, "Authorization": {token}}, "", true, ErrMalformed},
		"ticket in the header":   {http.Header{"Authorization": {CookieName + "=" + url.QueryEscape(ticket)}}, "ana@pve", false, nil},
		"a password":             {http.Header{"Authorization": {"Basic YTpi"}}, "", false, ErrMalformed},
		"another site's cookies": {http.Header{"Cookie": {"session=1"}}, "", false, ErrNoCredential},
	} {
		c, err := FromRequest(&http.Request{Header: test.header})
		if !errors.Is(err, test.want) || c.User != test.user || c.Cookie != test.cookie {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// A secret must not get into a log by any of the ways in which Go prints a value.
func TestNoWayOfPrintingShowsTheSecret(t *testing.T) {
	c, err := ParseToken("ana@pve!ci=the-secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if got := fmt.Sprintf(format, c); strings.Contains(got, "the-secret") {
			t.Errorf("%s prints %s", format, got)
		}
		if got := fmt.Sprintf(format, struct{ C Credential }{c}); format != "%#v" && strings.Contains(got, "the-secret") {
			t.Errorf("%s in a struct prints %s", format, got)
		}
	}
}

func TestShowIsWhatPVETakes(t *testing.T) {
	for _, text := range []string{"PVEAPIToken=ana@pve!ci=secret", CookieName + "=" + url.QueryEscape("PVE:ana@pve:68A1B2C3::"+signature)} {
		c, err := FromRequest(&http.Request{Header: http.Header{"Authorization": {text}}})
		if err != nil {
			t.Fatal(err)
		}
		shown := http.Header{}
		c.Show(shown)
		again, err := FromRequest(&http.Request{Header: shown})
		if err != nil || again.User != c.User || again.key() != c.key() {
			t.Errorf("%s: %v, %v", c, again, err)
		}
	}
}

func FuzzFromRequest(f *testing.F) {
	f.Add("PVEAPIToken=ana@pve!ci=secret", "PVE%3Aana@pve%3A68A1B2C3%3A%3A"+signature)
	f.Fuzz(func(t *testing.T, authorization, cookie string) {
		c, err := FromRequest(&http.Request{Header: http.Header{"Authorization": {authorization}, "Cookie": {CookieName + "=" + cookie}}})
		if err != nil {
			return
		}
		user, _, _ := strings.Cut(c.User, "@")
		if user == "" || strings.HasPrefix(c.User, "!") || len(c.User) > 200 || strings.ContainsAny(c.User, " \t\r\n:/\x00") {
			t.Errorf("accepted as %q", c.User)
		}
		shown := http.Header{}
		c.Show(shown)
		for _, values := range shown {
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n") {
					t.Errorf("a header with a line break: %q", v)
				}
			}
		}
	})
}
