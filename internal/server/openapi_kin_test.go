package server

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// docs/openapi.yaml is valid for a reader that is not ours, and what the handlers answer is what it says.
func TestOpenAPIByAnotherReader(t *testing.T) {
	data, err := os.ReadFile(openAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := testServer(t)
	checked := 0
	for _, rt := range s.routes() {
		method, path, _ := strings.Cut(rt.pattern, " ")
		if method != http.MethodGet || rt.kind == "" && rt.item == nil || rt.stream || strings.Contains(path, "{") {
			continue
		}
		content := doc.Paths.Find(path).Get.Responses.Status(http.StatusOK).Value.Content.Get("application/json")
		rec := ask(t, s, root, method, path, "", nil)
		var answer any
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s: %v", rt.pattern, err)
		}
		if err := content.Schema.Value.VisitJSON(answer, openapi3.MultiErrors()); err != nil {
			t.Errorf("%s: %v", rt.pattern, err)
		}
		checked++
	}
	if checked < 10 {
		t.Errorf("only %d answers were checked", checked)
	}
}
