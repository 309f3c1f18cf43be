package access

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Auth is how a caller showed who it is.
type Auth string

// Ways to show who one is.
const (
	// AuthSocket: the kernel names the peer of the unix socket (SO_PEERCRED).
	AuthSocket Auth = "socket"
	// AuthToken and AuthTicket: a PVE API token, a PVE login. PVE itself judges both.
	AuthToken  Auth = "token"
	AuthTicket Auth = "ticket"
)

// CookieName is the cookie of PVE's login. A browser sends it to every port of the host (PVE::APIServer::Formatter).
const CookieName = "PVEAuthCookie"

// CSRFHeader carries PVE's token against forged requests; PVE asks for it with a ticket in every method but GET.
const CSRFHeader = "CSRFPreventionToken"

// Credential is what a caller shows to PVE. It lives as long as the request and is never written anywhere.
type Credential struct {
	// User is the name that it claims, USER@REALM or USER@REALM!TOKEN; true only once PVE has accepted the credential.
	User string
	Auth Auth
	// Cookie says that it came as a cookie, which a browser sends unasked.
	Cookie bool
	value  string
}

// What a request may show wrongly.
var (
	// ErrNoCredential says that a request shows none.
	ErrNoCredential = errors.New("no PVE API token and no PVE ticket")
	// ErrMalformed says that a credential is none of PVE's forms.
	ErrMalformed = errors.New("not a PVE API token or ticket")
	// ErrHalfLogin says that a ticket's second factor is still missing.
	ErrHalfLogin = errors.New("the login is not finished: its second factor is missing")
	// ErrOtherTicket says that a ticket is for a console or a migration.
	ErrOtherTicket = errors.New("a ticket for a console or a migration is no login")
)

// FromRequest takes the credential out of a request, in PVE's own order (PVE::APIServer::AnyEvent,
// authenticate_and_handle_request): the cookie, the header Authorization with the cookie's name, an API token.
func FromRequest(r *http.Request) (Credential, error) {
	if cookie, err := r.Cookie(CookieName); err == nil {
		ticket, err := url.PathUnescape(cookie.Value)
		if err != nil {
			return Credential{}, ErrMalformed
		}
		c, err := ParseTicket(ticket)
		c.Cookie = true
		return c, err
	}
	header := r.Header.Get("Authorization")
	if value, ok := strings.CutPrefix(header, CookieName+"="); ok {
		ticket, err := url.PathUnescape(value)
		if err != nil {
			return Credential{}, ErrMalformed
		}
		return ParseTicket(ticket)
	}
	if value, ok := strings.CutPrefix(header, "PVEAPIToken="); ok {
		return ParseToken(value)
	}
	if header != "" {
		return Credential{}, ErrMalformed
	}
	return Credential{}, ErrNoCredential
}

// userPattern is a user with its realm, of at most 64 characters, as PVE has them (PVE::Auth::Plugin, verify_username).
var userPattern = regexp.MustCompile(`^[^\s:/\x00-\x1f\x7f]+@[A-Za-z][A-Za-z0-9.\-_]+$`)

// tokenPattern is the name of a token.
var tokenPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.\-_]+$`)

const maxUser = 64

func validUser(user string) bool { return len(user) <= maxUser && userPattern.MatchString(user) }

// ParseToken reads USER@REALM!NAME=SECRET. The last exclamation mark before the secret ends the user: a user's name may
// hold one.
func ParseToken(text string) (Credential, error) {
	id, secret, ok := strings.Cut(text, "=")
	at := strings.LastIndexByte(id, '!')
	if !ok || secret == "" || strings.ContainsAny(secret, " \t\r\n") || at < 0 || !validUser(id[:at]) || !tokenPattern.MatchString(id[at+1:]) {
		return Credential{}, ErrMalformed
	}
	return Credential{User: id, Auth: AuthToken, value: text}, nil
}

// ticketTail is what follows the user in a ticket: the time in hexadecimal seconds and a signature in base64.
var ticketTail = regexp.MustCompile(`^[0-9A-F]{8}::[A-Za-z0-9+/]+=*$`)

// ParseTicket reads PVE:USER:TIME::SIGNATURE, where a colon in the user is written %3A (PVE::Ticket). It does not check the
// signature: PVE does.
func ParseTicket(text string) (Credential, error) {
	for _, other := range []string{"PVEVNC:", "PVETUNNEL:"} {
		if strings.HasPrefix(text, other) {
			return Credential{}, ErrOtherTicket
		}
	}
	rest, ok := strings.CutPrefix(text, "PVE:")
	if !ok {
		return Credential{}, ErrMalformed
	}
	user, tail, ok := strings.Cut(rest, ":")
	user = strings.ReplaceAll(user, "%3A", ":")
	if strings.HasPrefix(user, "!") || strings.HasPrefix(user, "tfa!") || strings.HasPrefix(user, "u2f!") {
		return Credential{}, ErrHalfLogin
	}
	if !ok || !ticketTail.MatchString(tail) || !validUser(user) {
		return Credential{}, ErrMalformed
	}
	return Credential{User: user, Auth: AuthTicket, value: text}, nil
}

// Show puts the credential into a request to PVE. Nothing else of the caller's request goes there.
func (c Credential) Show(h http.Header) {
	if c.Auth == AuthToken {
		h.Set("Authorization", "PVEAPIToken="+c.value)
		return
	}
	h.Set("Cookie", CookieName+"="+url.QueryEscape(c.value))
}

// key is what a cache may know of a credential.
func (c Credential) key() [sha256.Size]byte {
	return sha256.Sum256([]byte(string(c.Auth) + "\x00" + c.value))
}

// String names the caller and never shows the secret.
func (c Credential) String() string { return fmt.Sprintf("%s by %s", c.User, c.Auth) }

// GoString is String, for %#v.
func (c Credential) GoString() string { return c.String() }
