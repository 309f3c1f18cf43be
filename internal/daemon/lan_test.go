package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"labd/internal/host"
)

// writePair writes a self-signed certificate of a name with its key.
func writePair(t *testing.T, dir, file, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, file+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNodeCertificate(t *testing.T) {
	paths := host.DefaultPaths()
	paths.PVE = t.TempDir()
	dir := filepath.Join(paths.PVE, "nodes/pve1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := &nodeCertificate{host: host.New(paths, ""), node: "pve1", now: func() time.Time { return now }}
	name := func() string {
		t.Helper()
		pair, err := c.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Subject.CommonName
	}
	if _, err := c.Get(nil); err == nil {
		t.Fatal("a certificate out of nothing")
	}
	writePair(t, dir, "pve-ssl", "cluster")
	if got := name(); got != "cluster" {
		t.Errorf("shows %s", got)
	}
	writePair(t, dir, "pveproxy-ssl", "own")
	if got := name(); got != "cluster" {
		t.Errorf("read again at once: %s", got)
	}
	now = now.Add(certificateAge)
	if got := name(); got != "own" {
		t.Errorf("after a minute it shows %s", got)
	}
	// A certificate that is being replaced is no reason to show none.
	if err := os.WriteFile(filepath.Join(dir, "pveproxy-ssl.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(certificateAge)
	if got := name(); got != "own" {
		t.Errorf("while it is replaced it shows %s", got)
	}
}

func TestLimitedListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &limitedListener{inner, make(chan struct{}, 1)}
	defer l.Close()
	for range 2 {
		if _, err := net.Dial("tcp", inner.Addr().String()); err != nil {
			t.Fatal(err)
		}
	}
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		second <- c
	}()
	select {
	case <-second:
		t.Fatal("more connections than places")
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	_ = first.Close() // twice is once
	if c := <-second; c == nil {
		t.Error("no connection after a place was given back")
	}
	if len(l.slots) != 1 {
		t.Errorf("%d places taken", len(l.slots))
	}
}
