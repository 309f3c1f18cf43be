package frame

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

type piece struct {
	id   byte
	text string
}

func demux(t *testing.T, r io.Reader, last byte) (pieces []piece, err error) {
	t.Helper()
	err = Demux(r, last, func(id byte, p []byte) error {
		if n := len(pieces); n > 0 && pieces[n-1].id == id {
			pieces[n-1].text += string(p)
		} else {
			pieces = append(pieces, piece{id, string(p)})
		}
		return nil
	})
	return pieces, err
}

func TestFramesThereAndBack(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	long := strings.Repeat("x", 3*Max+7)
	for _, p := range []piece{{Stdout, "out"}, {Stderr, "err"}, {Stdout, long}, {Result, `{"exitCode":3}`}} {
		if err := w.Write(p.id, []byte(p.text)); err != nil {
			t.Fatal(err)
		}
	}
	want := []piece{{Stdout, "out"}, {Stderr, "err"}, {Stdout, long}, {Result, `{"exitCode":3}`}}
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(b.Bytes()), "in halves": iotest.HalfReader(bytes.NewReader(b.Bytes()))} {
		got, err := demux(t, r, Result)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %d pieces, %v", name, len(got), err)
		}
	}
}

// Whatever byte a stream is cut at, it is an error, or the end of a frame.
func TestACutFrameIsAnError(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	_ = w.Write(Stdout, []byte("hello"))
	_ = w.Write(Result, []byte("{}"))
	whole := []int{0, 13, 23}
	for n := range b.Len() + 1 {
		_, err := demux(t, bytes.NewReader(b.Bytes()[:n]), Result)
		if slices.Contains(whole, n) != (err == nil) || err != nil && !errors.Is(err, ErrCut) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestHostileFrames(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		want error
	}{
		"unknown stream":      {"\x07\x00\x00\x00\x00\x00\x00\x01x", ErrFormat},
		"labd's own stream":   {"\x04\x00\x00\x00\x00\x00\x00\x02{}", ErrFormat},
		"text, not frames":    {"HTTP/1.1 200 OK\r\n", ErrFormat},
		"3 GiB announced":     {"\x01\x00\x00\x00\xc0\x00\x00\x00abc", ErrCut},
		"error without end":   {"\x03\x00\x00\x00\xff\xff\xff\xff" + strings.Repeat("e", 100_000), nil},
		"error of the daemon": {"\x03\x00\x00\x00\x00\x00\x00\x04oops", nil},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := demux(t, strings.NewReader(test.in), SystemError)
		runtime.ReadMemStats(&after)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if len(err.Error()) > 2*maxSystemError {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, grown)
		}
	}
}

func FuzzDemux(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x05hello\x02\x00\x00\x00\x00\x00\x00\x01x"))
	f.Add([]byte("\x03\x00\x00\x00\x00\x00\x00\x04oops"))
	f.Fuzz(func(t *testing.T, in []byte) {
		total := 0
		err := Demux(bytes.NewReader(in), Result, func(_ byte, p []byte) error {
			if len(p) > Max {
				t.Fatalf("a piece of %d bytes", len(p))
			}
			total += len(p)
			return nil
		})
		if total > len(in) || err == nil && len(in) > 0 && len(in) < headerSize {
			t.Fatalf("%d of %d bytes, %v", total, len(in), err)
		}
	})
}
