package conform

import (
	"bytes"
	"io/fs"
	"testing"

	"github.com/ipallow/ipallow/conformance"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

func compileSchema(t *testing.T, fragment string) *jsonschema.Schema {
	t.Helper()
	data, err := fs.ReadFile(conformance.Files(), "schema.json")
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, "https://json-schema.org/draft/2020-12/schema", doc.(map[string]any)["$schema"])
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("schema.json", doc))
	schema, err := c.Compile("schema.json" + fragment)
	require.NoError(t, err)
	return schema
}

func validate(t *testing.T, s *jsonschema.Schema, data []byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err, string(data))
	return s.Validate(doc)
}

func TestSchemaFiles(t *testing.T) {
	schema := compileSchema(t, "")
	for _, name := range []string{"entries.json", "lists.json", "verdicts.json", "sequences.json"} {
		data, err := fs.ReadFile(conformance.Files(), name)
		require.NoError(t, err)
		require.NoError(t, validate(t, schema, data), name)
	}
}

// TestSchemaLines validates every question, and the project's own answers.
func TestSchemaLines(t *testing.T) {
	question, answer := compileSchema(t, "#/$defs/question"), compileSchema(t, "#/$defs/answer")
	for _, c := range load(t) {
		require.NoError(t, validate(t, question, mustJSON(t, c.Question)), c.Name)
		require.NoError(t, validate(t, answer, mustJSON(t, conformance.Engine().Answer(c.Question))), c.Name)
	}
	require.NoError(t, validate(t, answer, []byte(`{"id":"a","error":"unsupported"}`)))
}

// TestSchemaRefuses checks that the schema says something.
func TestSchemaRefuses(t *testing.T) {
	file := compileSchema(t, "")
	head := `{"version":1,"file":"entries","cases":[`
	require.NoError(t, validate(t, file, []byte(head+`{"name":"a","reason":"b","entry":"","want":{"code":"too_broad"}}]}`)))
	for _, c := range []struct{ data, why string }{
		{head + `]}`, "no cases"},
		{head + `{"name":"a","entry":"","want":{"code":"too_broad"}}]}`, "no reason"},
		{head + `{"name":"","reason":"b","entry":"","want":{"code":"too_broad"}}]}`, "no name"},
		{head + `{"name":"a","reason":"b","entry":"","want":{}}]}`, "nothing wanted"},
		{head + `{"name":"a","reason":"b","entry":"","want":{"code":"wrong"}}]}`, "an unknown code"},
		{head + `{"name":"a","reason":"b","entry":"","want":{"code":"too_broad","canonical":"x"}}]}`, "a code and a form"},
		{head + `{"name":"a","reason":"b","entry":"","policy":{"min_bits":3},"want":{"code":"too_broad"}}]}`, "an unknown limit"},
		{head + `{"name":"a","reason":"b","entries":[],"address":"","want":{"verdict":"denied"}}]}`, "a case of another file"},
		{`{"version":2,"file":"entries","cases":[{"name":"a","reason":"b","entry":"","want":{"code":"too_broad"}}]}`, "another version"},
	} {
		require.Error(t, validate(t, file, []byte(c.data)), c.why)
	}
	answer := compileSchema(t, "#/$defs/answer")
	for _, c := range []struct{ data, why string }{
		{`{"canonical":"x"}`, "no ID"},
		{`{"id":"a"}`, "no answer"},
		{`{"id":"a","verdict":"allowed"}`, "allowed by nothing"},
		{`{"id":"a","verdict":"denied","match":{"index":0,"entry":"x"}}`, "denied by something"},
		{`{"id":"a","faults":[{"index":0,"code":"duplicate"}]}`, "a duplicate of nothing"},
		{`{"id":"a","faults":[]}`, "refused without a fault"},
		{`{"id":"a","steps":[{"ok":true,"revision":2}]}`, "no revision to begin with"},
	} {
		require.Error(t, validate(t, answer, []byte(c.data)), c.why)
	}
}
