package cli

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	apiv1 "labd/api/v1"
)

// supportTag is the tag of the fields that a support bundle holds. What has no tag is not in it, whatever labd comes to
// answer: the tags of api/v1 are the allow-list.
const supportTag = "support"

// supportVersion is version.json.
type supportVersion struct {
	Labctl   string    `json:"labctl,omitempty" support:"yes"`
	Labd     string    `json:"labd,omitempty" support:"yes"`
	Kernel   string    `json:"kernel,omitempty" support:"yes"`
	Node     string    `json:"node,omitempty" support:"yes"`
	Made     time.Time `json:"made" support:"yes"`
	Redacted bool      `json:"redacted,omitempty" support:"yes"`
}

// supportReports are labd's answers that a support bundle is made of.
type supportReports struct {
	status   apiv1.Envelope[apiv1.StatusItem]
	nvme     apiv1.Envelope[apiv1.NVMeItem]
	storage  apiv1.Envelope[apiv1.StorageItem]
	networks apiv1.Envelope[apiv1.NetworkItem]
	history  apiv1.Envelope[apiv1.HistoryItem]
	journal  apiv1.Envelope[apiv1.JournalItem]
	targets  apiv1.Envelope[apiv1.NotificationItem]
	config   apiv1.Envelope[apiv1.ConfigItem]
}

// names are what tells this machine from others, each with the word that stands for it.
func (r *supportReports) names() map[string]string {
	names := driveNames(r.nvme.Items)
	names[r.status.Node] = "NODE"
	return names
}

// hiddenKeys are the keys of the configuration whose values name people and places.
var hiddenKeys = []string{"mail_to", "mail_from", "mail_server", "hosts", "api"}

// configuration is what is in force; with hide without the values that name people and places.
func (r *supportReports) configuration(hide bool) []apiv1.ConfigItem {
	var out []apiv1.ConfigItem
	for _, i := range r.config.Items {
		var lines []string
		for line := range strings.Lines(scrub(i.Text)) {
			line = strings.TrimRight(line, "\n")
			key, _, _ := strings.Cut(line, "=")
			for _, hidden := range hiddenKeys {
				if hide && strings.TrimSpace(key) == hidden {
					line = hidden + " = " + masked
				}
			}
			lines = append(lines, line)
		}
		i.Text = strings.Join(lines, "\n")
		out = append(out, i)
	}
	return out
}

// supportField is one field of an object of a bundle.
type supportField struct {
	name  string
	value any
}

// supportObject is an object of a bundle, its fields in the order of the type.
type supportObject []supportField

// MarshalJSON writes the fields in their order.
func (o supportObject) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encoder.Encode(f.name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encoder.Encode(f.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// supportValue returns what a bundle holds of v: of a struct the fields with the tag, by their names in JSON.
func supportValue(v reflect.Value) any {
	if v.Type() == reflect.TypeFor[time.Time]() {
		return v.Interface()
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return supportValue(v.Elem())
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = supportValue(v.Index(i))
		}
		return out
	case reflect.Struct:
		out := supportObject{}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.Tag.Get(supportTag) != "yes" || strings.Contains(options, "omitempty") && v.Field(i).IsZero() {
				continue
			}
			out = append(out, supportField{name, supportValue(v.Field(i))})
		}
		return out
	case reflect.Map, reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float64:
		if v.Kind() == reflect.Map && !plain(v.Type().Elem()) {
			return nil
		}
		return v.Interface()
	default: // of no type that is known to hold only what its tag allows
		return nil
	}
}

// plain reports whether a value of the type holds no fields.
func plain(t reflect.Type) bool {
	return t.Kind() != reflect.Struct && t.Kind() != reflect.Interface && t.Kind() != reflect.Pointer && t.Kind() != reflect.Slice && t.Kind() != reflect.Map
}
