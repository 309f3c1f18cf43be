package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	apiv1 "labd/api/v1"
)

// reports are what one page shows. A part that could not be read has its error instead.
type reports struct {
	Status  apiv1.Envelope[apiv1.StatusItem]
	NVMe    apiv1.Envelope[apiv1.NVMeItem]
	Storage apiv1.Envelope[apiv1.StorageItem]
	Tree    apiv1.Envelope[apiv1.TreeItem]
	History apiv1.Envelope[apiv1.HistoryItem]
	// Errors are by path.
	Errors map[string]error
}

// read asks the API for all parts side by side, in this process. The last reports come at once: the page waits for no
// drive and no container.
func (p *page) read(ctx context.Context) reports {
	r := reports{Errors: map[string]error{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for path, into := range map[string]any{"/v1/status": &r.Status, "/v1/nvme": &r.NVMe, "/v1/storage": &r.Storage, "/v1/tree": &r.Tree, "/v1/history": &r.History} {
		wg.Go(func() {
			if err := p.ask(ctx, path, into); err != nil {
				mu.Lock()
				r.Errors[path] = err
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return r
}

// ask asks the API for one report.
func (p *page) ask(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody)
	if err != nil {
		return err
	}
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	p.API.ServeHTTP(answer, req)
	if answer.status != http.StatusOK {
		var problem apiv1.ErrorBody
		if json.Unmarshal(answer.body.Bytes(), &problem) == nil && problem.Error.Message != "" {
			return fmt.Errorf("%s", problem.Error.Message)
		}
		return fmt.Errorf("labd answers %d", answer.status)
	}
	return json.Unmarshal(answer.body.Bytes(), into)
}

// recorder keeps an answer in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
