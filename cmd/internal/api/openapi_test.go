package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
)

func TestDocumentIsValid(t *testing.T) {
	require.Equal(t, "3.1.0", document.OpenAPI)
	require.NoError(t, document.Validate(context.Background(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaFormatValidation()))

	// Generators refuse a name that is there twice, which readers pass over.
	_, err := jsontext.NewDecoder(bytes.NewReader(Document)).ReadValue()
	require.NoError(t, err)

	ids := map[string]bool{}
	for path, item := range document.Paths.Map() {
		for method, op := range item.Operations() {
			require.NotEmpty(t, op.Summary, "%s %s", method, path)
			require.NotEmpty(t, op.Description, "%s %s", method, path)
			require.False(t, ids[op.OperationID], op.OperationID)
			ids[op.OperationID] = true
			require.Nil(t, op.Security, "%s %s needs the token as all others do", method, path)
		}
	}
}

// TestDocumentExamples holds the examples of bodies against their schemas with
// the validator that judges answers.
func TestDocumentExamples(t *testing.T) {
	n := 0
	check := func(where string, content openapi3.Content) {
		for _, media := range content {
			examples := []any{media.Example}
			for _, ex := range media.Examples {
				examples = append(examples, ex.Value.Value)
			}
			for _, ex := range examples {
				if ex == nil {
					continue
				}
				n++
				require.NoError(t, media.Schema.Value.VisitJSON(ex, openapi3.EnableJSONSchema2020()), where)
			}
		}
	}
	for path, item := range document.Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody != nil {
				check(method+" "+path, op.RequestBody.Value.Content)
			}
			for status, resp := range op.Responses.Map() {
				check(method+" "+path+" "+status, resp.Value.Content)
			}
		}
	}
	require.Greater(t, n, 100)
}

// TestRoutesAreInDocument compares the two in both directions.
func TestRoutesAreInDocument(t *testing.T) {
	var served, documented []string
	for path, m := range new(handler).routes() {
		for method := range m {
			served = append(served, method+" "+path)
		}
	}
	for path, item := range document.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(documented)
	require.Equal(t, documented, served)
}

func TestErrorCodesAreInDocument(t *testing.T) {
	codes := document.Components.Schemas["Error"].Value.Properties["error"].Value.Properties["code"].Value.Enum
	for _, known := range knownErrors {
		require.Contains(t, codes, any(known.answer.Code))
	}
}

func TestDocumentIsServed(t *testing.T) {
	w := newWorld(t)
	a := w.get("/api/openapi.json").ok(200, nil)
	require.Equal(t, string(Document), a.text)
	require.Equal(t, "application/json; charset=utf-8", a.Header.Get("Content-Type"))
	w.do(call{method: "HEAD", path: "/api/openapi.json"}).ok(200, nil)
}

// TestJudgeFindsFaults makes answers that the document does not permit, so
// that no test passes because nothing is looked at.
func TestJudgeFindsFaults(t *testing.T) {
	w := newWorld(t)
	made := w.create("a", "203.0.113.0/24 office")
	for _, test := range []struct {
		path   string
		change func(head http.Header, status *int, body object)
		fault  string
	}{
		{"", func(http.Header, *int, object) {}, ""},
		{"", func(_ http.Header, _ *int, b object) { b["extra"] = 1 }, "extra"},
		{"", func(_ http.Header, _ *int, b object) { delete(b, "scopes") }, "scopes"},
		{"", func(_ http.Header, _ *int, b object) { b["created_at"] = "yesterday" }, "date-time"},
		{"", func(_ http.Header, _ *int, b object) { b["status"] = "asleep" }, "status"},
		{"", func(_ http.Header, _ *int, b object) { b["revoked_at"] = 5 }, "revoked_at"},
		{"", func(_ http.Header, s *int, _ object) { *s = 202 }, "status is not supported"},
		{"", func(h http.Header, _ *int, _ object) { h.Del("X-Request-Id") }, "X-Request-Id"},
		{"", func(h http.Header, _ *int, _ object) { h.Set("Content-Type", "text/html") }, "text/html"},
		{"/allowlist", func(h http.Header, _ *int, _ object) { h.Del("ETag") }, "ETag"},
		{"/allowlist", func(_ http.Header, _ *int, b object) { b["entries"].([]any)[0].(object)["labels"] = "x" }, "labels"},
		{"/allowlist", func(_ http.Header, _ *int, b object) { b["warnings"] = nil }, "warnings"},
		{"/none", func(_ http.Header, s *int, _ object) { *s = 200 }, "no such route"},
		{"/none", func(_ http.Header, _ *int, b object) { b["error"].(object)["extra"] = 1 }, "extra"},
	} {
		path := "/api/v1/keys/" + made.ID + test.path
		a := w.get(path)
		var body object
		require.NoError(t, json.Unmarshal([]byte(a.text), &body))
		test.change(a.Header, &a.StatusCode, body)
		text, err := json.Marshal(body)
		require.NoError(t, err)
		err = judgeDocument(httptest.NewRequest("GET", path, nil), nil, a.Response, text)
		if test.fault == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, test.fault)
		}
	}
}

// TestDocumentRefusesWhatTheServerRefuses sends bodies that the schemas do not
// permit, and that the server must not take either.
func TestDocumentRefusesWhatTheServerRefuses(t *testing.T) {
	w := newWorld(t)
	made := w.create("a")
	key := "/api/v1/keys/" + made.ID
	for _, test := range []struct{ method, path, body string }{
		{"POST", "/api/v1/keys", `{"scopes":["read"]}`},
		{"POST", "/api/v1/keys", `{"name":"","scopes":["read"]}`},
		{"POST", "/api/v1/keys", `{"name":"a","scopes":[]}`},
		{"POST", "/api/v1/keys", `{"name":"a"}`},
		{"POST", "/api/v1/keys", `{"name":"a","scopes":["admin"]}`},
		{"POST", "/api/v1/keys", `{"name":"a","scopes":"read"}`},
		{"POST", "/api/v1/keys", `{"name":"a","scopes":["read"],"description":"` + strings.Repeat("x", 1001) + `"}`},
		{"POST", "/api/v1/keys", `{"name":"` + strings.Repeat("ü", 101) + `","scopes":["read"]}`},
		{"POST", "/api/v1/keys", `{"name":"a","scopes":["read"],"report_only":1}`},
		{"POST", "/api/v1/keys", `{"name":"a","scopes":["read"],"allowlist":[{"label":"x"}]}`},
		{"POST", "/api/v1/keys", `{"name":"a","scopes":["read"],"allowlist":["203.0.113.1"]}`},
		{"POST", "/api/v1/keys", `{"name":"a","scopes":["read"],"allowlist":null}`},
		{"PATCH", key, `{}`},
		{"PATCH", key, `{"name":null}`},
		{"PATCH", key, `{"allowlist":[]}`},
		{"PUT", key + "/allowlist", `{}`},
		{"PUT", key + "/allowlist", `{"confirm_lockout":true}`},
		{"PUT", key + "/allowlist", `{"entries":null}`},
		{"PUT", key + "/allowlist", `{"entries":[],"confirm_lockout":"yes"}`},
		{"POST", key + "/allowlist/check", `{}`},
		{"POST", key + "/allowlist/check", `{"address":"203.0.113.1","addresses":["203.0.113.1"]}`},
		{"POST", key + "/rotate", `{"secret":"mine"}`},
		{"POST", key + "/rotate", `[]`},
	} {
		a := w.do(call{method: test.method, path: test.path, body: test.body})
		require.Contains(t, []int{400, 422}, a.StatusCode, "%s %s %s", test.method, test.path, test.body)
		// As if it had been taken.
		req := httptest.NewRequest(test.method, test.path, nil)
		req.Header.Set("Content-Type", "application/json")
		resp := &http.Response{StatusCode: 200, Header: a.Header, Body: io.NopCloser(&bytes.Buffer{})}
		require.ErrorContains(t, judgeDocument(req, []byte(test.body), resp, nil), "does not permit", "%s %s %s", test.method, test.path, test.body)
	}
}
