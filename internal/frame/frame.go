package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Stream ids of frames. The first four are Docker's (api/types/container, "Stream format" of the attach endpoint); Result
// is labd's own: the last frame of a stream, a JSON object with the exit code or an error, so that a stream that was cut
// is never taken for one that ended well.
const (
	Stdin       byte = 0
	Stdout      byte = 1
	Stderr      byte = 2
	SystemError byte = 3
	Result      byte = 4
)

// Max is the longest frame that labd writes, in bytes without the header.
const Max = 64 << 10

// maxSystemError is how much of an error text of Docker's is kept, in bytes.
const maxSystemError = 4 << 10

const headerSize = 8

// What a stream of frames may do wrong.
var (
	// ErrCut says that a stream ended in the middle of a frame.
	ErrCut = errors.New("the stream was cut in the middle of a frame")
	// ErrFormat says that a header is none of the format.
	ErrFormat = errors.New("not a frame of Docker's format")
)

// Writer writes frames to one connection. It is safe for concurrent use: a frame is never torn by another.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes p as frames of one stream, Max bytes each at the most. An empty p is one empty frame.
func (w *Writer) Write(id byte, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		part := p[:min(len(p), Max)]
		w.buf = append(w.buf[:0], id, 0, 0, 0)
		w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(part)))
		w.buf = append(w.buf, part...)
		if _, err := w.w.Write(w.buf); err != nil {
			return err
		}
		if p = p[len(part):]; len(p) == 0 {
			return nil
		}
	}
}

// Demux reads a stream of frames to its end and gives each piece to sink, in pieces of Max bytes at the most: a
// header may announce 4 GiB and costs nothing. The piece is only valid during the call. What Docker reports as stream 3 is
// an error with Docker's text, escaped by no one yet. Ids beyond last are ErrFormat.
func Demux(r io.Reader, last byte, sink func(id byte, p []byte) error) error {
	header := make([]byte, headerSize)
	buf := make([]byte, Max)
	for {
		if _, err := io.ReadFull(r, header); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return cut(err)
		}
		id, left := header[0], int64(binary.BigEndian.Uint32(header[4:]))
		if id > last || header[1]|header[2]|header[3] != 0 {
			return fmt.Errorf("%w: header % x", ErrFormat, header)
		}
		if id == SystemError {
			text, err := io.ReadAll(io.LimitReader(r, min(left, maxSystemError)))
			if err != nil {
				return cut(err)
			}
			return fmt.Errorf("docker: %s", strings.TrimSpace(string(text)))
		}
		if left == 0 && id == Result {
			return fmt.Errorf("%w: an empty result", ErrFormat)
		}
		for left > 0 {
			n, err := r.Read(buf[:min(left, Max)])
			if n > 0 {
				left -= int64(n)
				if err := sink(id, buf[:n]); err != nil {
					return err
				}
			}
			if err != nil && left > 0 {
				return cut(err)
			}
		}
	}
}

// Raw reads a stream without frames, as a terminal's is, as stream 1.
func Raw(r io.Reader, sink func(id byte, p []byte) error) error {
	buf := make([]byte, Max)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := sink(Stdout, buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCut
	}
	return err
}
