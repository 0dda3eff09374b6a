package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// TestBodies sends bodies that cannot be right, and what the answer must say.
func TestBodies(t *testing.T) {
	w := newWorld(t)
	deep := strings.Repeat(`{"a":`, 20000)
	for _, test := range []struct{ body, path, message string }{
		{``, "", "empty"},
		{`  `, "", "empty"},
		{`{`, "", "not valid JSON"},
		{`{"name":"a"`, "", "not valid JSON"},
		{`{"name":"a",}`, "", "not valid JSON"},
		{`{name:"a"}`, "", "not valid JSON"},
		{`{'name':'a'}`, "", "not valid JSON"},
		{`{"name":"a" // c` + "\n}", "", "not valid JSON"},
		{"\ufeff{}", "", "not valid JSON"},
		{`null`, "", "null"},
		{`"a"`, "", "is a string, but must be an object"},
		{`5`, "", "is a number, but must be an object"},
		{`true`, "", "is a boolean, but must be an object"},
		{`[{"name":"a"}]`, "", "is an array, but must be an object"},
		{`{"name":"a","scopes":["read"]}{}`, "", "follows the object"},
		{`{"name":"a","scopes":["read"]} x`, "", "follows the object"},
		{`{"name":"a","scopes":["read"]}]`, "", "follows the object"},
		{`{"nmae":"a"}`, "/nmae", `no field "nmae" here; the fields are name, description, scopes, report_only, allowlist`},
		{`{"Name":"a"}`, "/Name", `no field "Name"`},
		{`{"id":"aaaaaaaaaaaaaaaa"}`, "/id", `no field "id"`},
		{`{"secret":"mine"}`, "/secret", `no field "secret"`},
		{`{"__proto__":{}}`, "/__proto__", "no field"},
		{`{"":1}`, "/", "no field"},
		{`{"name":"a","name":"b"}`, "/name", `"name" is there twice`},
		{`{"name":"a","n\u0061me":"b"}`, "/name", `"name" is there twice`},
		{`{"name":5}`, "/name", "/name is a number, but must be a string"},
		{`{"name":null}`, "/name", "/name is null"},
		{`{"name":["a"]}`, "/name", "is an array, but must be a string"},
		{`{"name":{"a":1}}`, "/name", "is an object, but must be a string"},
		{`{"name":true}`, "/name", "is a boolean, but must be a string"},
		{`{"scopes":"read"}`, "/scopes", "is a string, but must be an array"},
		{`{"scopes":{"read":true}}`, "/scopes", "is an object, but must be an array"},
		{`{"scopes":["read",1]}`, "/scopes/1", "/scopes/1 is a number"},
		{`{"scopes":["read",null]}`, "/scopes/1", "/scopes/1 is null"},
		{`{"report_only":"true"}`, "/report_only", "is a string, but must be a boolean"},
		{`{"report_only":0}`, "/report_only", "is a number, but must be a boolean"},
		{`{"allowlist":{}}`, "/allowlist", "is an object, but must be an array"},
		{`{"allowlist":["203.0.113.5"]}`, "/allowlist/0", "is a string, but must be an object"},
		{`{"allowlist":[{"entry":"203.0.113.5"},{"entry":5}]}`, "/allowlist/1/entry", "/allowlist/1/entry is a number, but must be a string"},
		{`{"allowlist":[{"entry":"203.0.113.5","lable":"x"}]}`, "/allowlist/0/lable", `no field "lable" here; the fields are entry, label`},
		{`{"allowlist":[{"entry":"a","entry":"b"}]}`, "/allowlist/0/entry", "twice"},
		{"{\"name\":\"a\xff\"}", "/name", "not valid JSON"},
		{`{"name":"\ud800"}`, "/name", "not valid JSON"},
		{"{\"name\":\"a\nb\"}", "/name", "not valid JSON"},
		{`{"name":"\x"}`, "/name", "not valid JSON"},
		{`{"name":01}`, "", "not valid JSON"},
		{`{"name":NaN}`, "/name", "not valid JSON"},
		{deep, cut(strings.Repeat("/a", 20000), 200), "not valid JSON"},
		{`{"` + strings.Repeat("x", 1000) + `":1}`, "/" + strings.Repeat("x", 199) + "…", `"` + strings.Repeat("x", 60) + `…"`},
		{`{"<script>":1}`, "/<script>", `"<script>"`},
		{`{"a/b~c":1}`, "/a~1b~0c", `"a/b~c"`},
	} {
		a := w.post("/api/v1/keys", test.body)
		e := a.fails(400, "INVALID_JSON")
		require.Equal(t, test.path, e.Path, test.body)
		require.Contains(t, e.Message, test.message, test.body)
		require.Less(t, len(a.text), 1000, "a message does not grow with the body")
		require.NotContains(t, a.text, "<script>")
	}
	require.Empty(t, w.list("").Keys)
}

func TestBodyOfRotate(t *testing.T) {
	w := newWorld(t)
	made := w.create("a")
	path := "/api/v1/keys/" + made.ID + "/rotate"
	for _, body := range []string{`{"secret":"x"}`, `[]`, `{}{}`, `x`, `null`} {
		w.post(path, body).fails(400, "INVALID_JSON")
	}
	require.NotNil(t, w.ring.Authenticate(made.Secret), "the old secret still counts")
}

// FuzzDecode looks for bodies that decode takes and encoding/json does not
// understand in the same way.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"name":"a","scopes":["read"]}`, `{"allowlist":[{"entry":"203.0.113.5","label":"x"}]}`, `{"name":null}`, `{"name":"a","name":"b"}`,
		`{"NAME":"a"}`, `{} {}`, `[`, "\xff", `{"name":"\ud83d\ude00"}`, `{"name":"x:null"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(compareDecoders)
}

// compareDecoders decodes a body with decode and with encoding/json. What the
// one takes the other must take, with the same outcome. (It is stricter, so
// the opposite does not hold.)
func compareDecoders(t *testing.T, body []byte) {
	type newKey struct {
		Name       string             `json:"name"`
		Scopes     []string           `json:"scopes"`
		ReportOnly bool               `json:"report_only"`
		Allowlist  []manage.ListEntry `json:"allowlist"`
	}
	var got, want newKey
	err := decode(body, &got)
	if err != nil {
		var answer *apiError
		require.True(t, errors.As(err, &answer))
		require.Equal(t, 400, answer.status)
		require.NotEmpty(t, answer.Message)
		require.Less(t, len(answer.Message)+len(answer.Path), 1200)
		return
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&want))
	require.Equal(t, want, got)
	require.False(t, dec.More())
	var anything any
	require.NoError(t, json.Unmarshal(body, &anything))
	require.False(t, hasNull(anything))
}

func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(v, hasNull)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), hasNull)
	}
	return false
}
