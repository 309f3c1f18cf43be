package server

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
)

var update = flag.Bool("update", false, "write docs/openapi.yaml")

const openAPIFile = "../../docs/openapi.yaml"

// docs/openapi.yaml is what the routes and the types of api/v1 say.
func TestOpenAPI(t *testing.T) {
	want := newSpec(t).document(testServer(t).routes())
	if *update {
		if err := os.WriteFile(openAPIFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(openAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(have)); diff != "" {
		t.Errorf("docs/openapi.yaml is not up to date (go test ./internal/server -update), -want +got:\n%s", diff)
	}
}

type openAPI struct {
	OpenAPI    string `json:"openapi"`
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas map[string]struct {
			Properties map[string]json.RawMessage `json:"properties"`
			Required   []string                   `json:"required"`
		} `json:"schemas"`
	} `json:"components"`
}

// The file as others read it: every route is in it, every type of api/v1 with every field, every reference leads
// somewhere, and what the handlers answer has no field that it lacks.
func TestOpenAPIAsRead(t *testing.T) {
	data, err := os.ReadFile(openAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	var doc openAPI
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("openapi: %q", doc.OpenAPI)
	}
	s := testServer(t)
	for _, rt := range s.routes() {
		method, path, _ := strings.Cut(rt.pattern, " ")
		if doc.Paths[path][strings.ToLower(method)] == nil {
			t.Errorf("%s is not in the file", rt.pattern)
		}
	}
	for name, doc := range typeDocs(t) {
		if len(doc.fields) == 0 || name == "Envelope" {
			continue
		}
		schema, ok := docSchema(t, text, name)
		if !ok {
			t.Errorf("type %s is not in the file", name)
			continue
		}
		for _, field := range doc.fields {
			if _, ok := schema[field]; !ok {
				t.Errorf("%s.%s is not in the file", name, field)
			}
		}
	}
	for _, ref := range strings.Split(string(text), `"$ref":"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(ref, `"`)
		if _, ok := doc.Components.Schemas[name]; !ok {
			t.Errorf("a reference leads to %s, which does not exist", name)
		}
	}
	for _, rt := range s.routes() {
		method, path, _ := strings.Cut(rt.pattern, " ")
		if method != http.MethodGet || rt.stream || rt.kind == "" {
			continue
		}
		if strings.Contains(path, "{id}") {
			continue // there is none of them here
		}
		var answer apiv1.Envelope[map[string]any]
		ask(t, s, root, method, path, "", &answer)
		if answer.Kind != rt.kind {
			t.Errorf("%s answers with %s, the table says %s", rt.pattern, answer.Kind, rt.kind)
		}
		schema := doc.Components.Schemas[reflect.TypeOf(rt.item).Name()]
		for _, item := range answer.Items {
			for field := range item {
				if _, ok := schema.Properties[field]; !ok {
					t.Errorf("%s answers with a field %s that is not in the file", rt.pattern, field)
				}
			}
			for _, field := range schema.Required {
				if _, ok := item[field]; !ok {
					t.Errorf("%s answers without the required field %s", rt.pattern, field)
				}
			}
		}
	}
}

func docSchema(t *testing.T, text []byte, name string) (map[string]json.RawMessage, bool) {
	t.Helper()
	var doc openAPI
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	schema, ok := doc.Components.Schemas[name]
	return schema.Properties, ok
}

// typeDoc is what the source says of a struct type of api/v1.
type typeDoc struct {
	text   string
	about  map[string]string // of the fields that have a comment, by JSON name
	fields []string          // JSON names
}

func typeDocs(t *testing.T) map[string]typeDoc {
	t.Helper()
	files, err := filepath.Glob("../../api/v1/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	out := map[string]typeDoc{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range group.Specs {
				ts, ok := s.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if st, ok := ts.Type.(*ast.StructType); ok {
					out[ts.Name.Name] = docOf(group.Doc.Text(), st)
				}
			}
		}
	}
	return out
}

func docOf(text string, st *ast.StructType) typeDoc {
	d := typeDoc{text: oneLine(text), about: map[string]string{}}
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			continue
		}
		name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		d.fields = append(d.fields, name)
		if about := oneLine(f.Doc.Text()); about != "" {
			d.about[name] = about
		}
	}
	return d
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// spec builds the document.
type spec struct {
	docs    map[string]typeDoc
	schemas map[string]yaml.MapSlice
}

func newSpec(t *testing.T) *spec {
	return &spec{docs: typeDocs(t), schemas: map[string]yaml.MapSlice{}}
}

func pair(key string, value any) yaml.MapItem { return yaml.MapItem{Key: key, Value: value} }

func (b *spec) document(routes []route) string {
	paths := map[string]yaml.MapSlice{}
	for _, rt := range routes {
		method, path, _ := strings.Cut(rt.pattern, " ")
		paths[path] = append(paths[path], pair(strings.ToLower(method), b.operation(rt)))
	}
	var pathItems yaml.MapSlice
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		pathItems = append(pathItems, pair(path, paths[path]))
	}
	b.schema(reflect.TypeFor[apiv1.Problem]())
	b.schema(reflect.TypeFor[apiv1.StepProgress]())
	b.schema(reflect.TypeFor[apiv1.ErrorBody]())
	var schemas yaml.MapSlice
	for _, name := range slices.Sorted(maps.Keys(b.schemas)) {
		schemas = append(schemas, pair(name, b.schemas[name]))
	}
	doc := yaml.MapSlice{
		pair("openapi", "3.1.1"),
		pair("info", yaml.MapSlice{
			pair("title", "labd"), pair("version", "v1"),
			pair("summary", "What labd knows of a Proxmox VE host, and what it may do there"),
			pair("description", "On the unix socket /run/labd/labd.sock, for root and members of group labd; operations with x-labd-access root are for root alone. Operations with x-labd-tcp are answered on the TCP port too where listen.api is true, without plans."),
		}),
		pair("servers", []yaml.MapSlice{{pair("url", "http://localhost:9717"), pair("description", "The TCP port, where listen.api is true")}}),
		pair("paths", pathItems),
		pair("components", yaml.MapSlice{pair("schemas", schemas)}),
	}
	text, err := yaml.Marshal(doc)
	if err != nil {
		return err.Error()
	}
	return "# Written by go test ./internal/server -update from the routes and the types of api/v1.\n" + string(text)
}

func (b *spec) operation(rt route) yaml.MapSlice {
	op := yaml.MapSlice{pair("summary", rt.summary), pair("operationId", operationID(rt.pattern))}
	if rt.audience != reads {
		op = append(op, pair("x-labd-access", "root"))
	}
	if rt.public {
		op = append(op, pair("x-labd-tcp", true))
	}
	var params []yaml.MapSlice
	for _, part := range strings.Split(rt.pattern, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		params = append(params, yaml.MapSlice{pair("name", name), pair("in", "path"), pair("required", true), pair("schema", yaml.MapSlice{pair("type", "string")})})
	}
	if rt.fresh {
		params = append(params, yaml.MapSlice{
			pair("name", "fresh"), pair("in", "query"), pair("description", "Any value observes first and waits two seconds for it at the most"),
			pair("schema", yaml.MapSlice{pair("type", "string")}),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(rt.query)) {
		params = append(params, yaml.MapSlice{
			pair("name", name), pair("in", "query"), pair("description", rt.query[name]), pair("schema", yaml.MapSlice{pair("type", "string")}),
		})
	}
	if rt.stream {
		params = append(params, yaml.MapSlice{
			pair("name", "Last-Event-ID"), pair("in", "header"), pair("description", "The id of the last event that was seen"),
			pair("schema", yaml.MapSlice{pair("type", "string")}),
		})
	}
	if params != nil {
		op = append(op, pair("parameters", params))
	}
	if rt.body != nil {
		op = append(op, pair("requestBody", yaml.MapSlice{pair("required", true), pair("content", content("application/json", b.ref(reflect.TypeOf(rt.body))))}))
	}
	status, good := "200", yaml.MapSlice{pair("description", "OK")}
	switch {
	case rt.upgrade:
		status, good = "101", yaml.MapSlice{pair("description", "The connection is a stream from here on")}
	case rt.item == nil && !rt.stream && !rt.frames:
		status, good = "204", yaml.MapSlice{pair("description", "Done")}
	default:
		good = append(good, pair("content", b.answer(rt)))
	}
	return append(op, pair("responses", yaml.MapSlice{
		pair(status, good),
		pair("default", yaml.MapSlice{pair("description", "What failed, and what to do next (RFC 9457)"), pair("content", content("application/problem+json", b.ref(reflect.TypeFor[apiv1.Problem]())))}),
	}))
}

func (b *spec) answer(rt route) yaml.MapSlice {
	switch {
	case rt.stream:
		return content("text/event-stream", yaml.MapSlice{
			pair("type", "string"),
			pair("description", "Events finding.raised, finding.changed and finding.cleared carry a Finding, plan.step a StepProgress, plan.ended a JournalItem; reset says that events were lost. A comment comes every 15 seconds."),
		})
	case rt.frames:
		b.ref(reflect.TypeFor[apiv1.ExecResult]())
		return content(apiv1.FramesType, yaml.MapSlice{
			pair("type", "string"), pair("format", "binary"),
			pair("description", "Docker's frames: a byte for the stream (1 output, 2 errors), three zero bytes, a length of four bytes, the data. The last frame is of stream 4 and holds an ExecResult; without it the stream was cut."),
		})
	case rt.kind == "":
		return content("application/json", b.ref(reflect.TypeOf(rt.item)))
	default:
		return content("application/json", b.envelope(rt.kind, reflect.TypeOf(rt.item)))
	}
}

func content(kind string, schema yaml.MapSlice) yaml.MapSlice {
	return yaml.MapSlice{pair(kind, yaml.MapSlice{pair("schema", schema)})}
}

func operationID(pattern string) string {
	id := strings.NewReplacer("/v1/", " ", "-", " ", "/{id}/", " one ", "/{id}", " one", "{ct}", "", "{name}", "", "/", " ").Replace(pattern)
	words := strings.Fields(strings.ToLower(id))
	for i := 1; i < len(words); i++ {
		words[i] = strings.ToUpper(words[i][:1]) + words[i][1:]
	}
	return strings.Join(words, "")
}

// envelope is the schema of an answer of a kind, under the kind's name.
func (b *spec) envelope(kind string, item reflect.Type) yaml.MapSlice {
	name := kind
	if item.Name() == kind {
		name = kind + "Answer"
	}
	properties := b.object(reflect.TypeFor[apiv1.Envelope[struct{}]](), b.docs["Envelope"])
	delete(b.schemas, "") // of struct{}, in whose place the item comes
	for i, p := range properties {
		if p.Key != "properties" {
			continue
		}
		fields := p.Value.(yaml.MapSlice)
		for j, f := range fields {
			switch f.Key {
			case "kind":
				fields[j].Value = yaml.MapSlice{pair("const", kind)}
			case "apiVersion":
				fields[j].Value = yaml.MapSlice{pair("const", apiv1.APIVersion)}
			case "items":
				fields[j].Value = yaml.MapSlice{pair("type", "array"), pair("items", b.ref(item))}
			}
		}
		properties[i].Value = fields
	}
	b.schemas[name] = properties
	return yaml.MapSlice{pair("$ref", "#/components/schemas/"+name)}
}

func (b *spec) ref(t reflect.Type) yaml.MapSlice {
	b.schema(t)
	return yaml.MapSlice{pair("$ref", "#/components/schemas/"+t.Name())}
}

func (b *spec) schema(t reflect.Type) {
	if _, ok := b.schemas[t.Name()]; ok {
		return
	}
	b.schemas[t.Name()] = nil // against types that hold themselves
	b.schemas[t.Name()] = b.object(t, b.docs[t.Name()])
}

func (b *spec) object(t reflect.Type, doc typeDoc) yaml.MapSlice {
	out := yaml.MapSlice{pair("type", "object")}
	if doc.text != "" {
		out = append(out, pair("description", doc.text))
	}
	var properties yaml.MapSlice
	var required []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		schema := b.value(f.Type)
		if about := doc.about[name]; about != "" {
			schema = append(schema, pair("description", about))
		}
		properties = append(properties, pair(name, schema))
		if options == "" {
			required = append(required, name)
		}
	}
	out = append(out, pair("properties", properties))
	if required != nil {
		out = append(out, pair("required", required))
	}
	return out
}

func (b *spec) value(t reflect.Type) yaml.MapSlice {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return yaml.MapSlice{pair("type", "string"), pair("format", "date-time")}
	case t == reflect.TypeFor[[]byte]():
		return yaml.MapSlice{pair("type", "string"), pair("contentEncoding", "base64")}
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[time.Time]():
		return yaml.MapSlice{pair("oneOf", []any{b.ref(t.Elem()), yaml.MapSlice{pair("type", "null")}})}
	case t.Kind() == reflect.Pointer:
		schema := b.value(t.Elem())
		schema[0].Value = []string{fmt.Sprint(schema[0].Value), "null"}
		return schema
	}
	switch t.Kind() {
	case reflect.Bool:
		return yaml.MapSlice{pair("type", "boolean")}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return yaml.MapSlice{pair("type", "integer")}
	case reflect.Float32, reflect.Float64:
		return yaml.MapSlice{pair("type", "number")}
	case reflect.Slice:
		// A list without entries may be null.
		return yaml.MapSlice{pair("type", []string{"array", "null"}), pair("items", b.value(t.Elem()))}
	case reflect.Map:
		return yaml.MapSlice{pair("type", []string{"object", "null"}), pair("additionalProperties", b.value(t.Elem()))}
	case reflect.Struct:
		return b.ref(t)
	case reflect.Interface:
		return yaml.MapSlice{}
	default:
		schema := yaml.MapSlice{pair("type", "string")}
		if listed := words(t); listed != nil {
			schema = append(schema, pair("enum", listed))
		}
		return schema
	}
}
