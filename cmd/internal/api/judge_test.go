package api

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"
)

// document is the OpenAPI document, and router finds its operations.
var document, router = func() (*openapi3.T, routers.Router) {
	doc, err := openapi3.NewLoader().LoadFromData(Document)
	if err != nil {
		panic(err)
	}
	r, err := gorillamux.NewRouter(doc)
	if err != nil {
		panic(err)
	}
	return doc, r
}()

// covered is which answers of the document were seen: "GET /api/v1/keys 200".
var covered sync.Map

// secrets are all secrets of keys that were given out.
var secrets secretList

type secretList struct {
	mu   sync.Mutex
	list []string
}

func (s *secretList) add(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, secret)
}

func (s *secretList) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// judge holds an answer against the document, and a request too if it was
// answered as asked.
func judge(t testing.TB, req *http.Request, sent []byte, resp *http.Response, body []byte) {
	t.Helper()
	what := fmt.Sprintf("%s %s -> %d %s", req.Method, req.URL, resp.StatusCode, body)
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"), what)
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"), what)
	require.Regexp(t, "^[0-9a-f]{16}$", resp.Header.Get("X-Request-Id"), what)
	require.NoError(t, judgeDocument(req, sent, resp, body), what)
	judgeSecrets(t, req, resp, body)
}

func judgeDocument(req *http.Request, sent []byte, resp *http.Response, body []byte) error {
	again := req.Clone(context.Background())
	again.Body = io.NopCloser(bytes.NewReader(sent))
	again.URL.Host, again.URL.Scheme, again.Host = "", "", ""
	head := again.Method == http.MethodHead
	if head {
		again.Method = http.MethodGet
	}
	route, params, err := router.FindRoute(again)
	if err != nil {
		return judgeOutside(resp, body, head)
	}
	input := &openapi3filter.RequestValidationInput{
		Request: again, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true, RejectWhenRequestBodyNotSpecified: true, SkipSettingDefaults: true,
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
		},
	}
	if body := route.Operation.RequestBody; body != nil && !body.Value.Required && len(bytes.TrimSpace(sent)) == 0 {
		input.Options.ExcludeRequestBody = true // no body is no JSON
	}
	if resp.StatusCode < 300 {
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			return fmt.Errorf("the request was answered, and the document does not permit it: %w", err)
		}
	}
	options := *input.Options
	options.ExcludeResponseBody = head
	if !head {
		covered.Store(fmt.Sprintf("%s %s %d", again.Method, route.Path, resp.StatusCode), true)
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header,
		Body: io.NopCloser(bytes.NewReader(body)), Options: &options,
	})
}

// judgeOutside judges an answer for a path or a method that is not in the
// document.
func judgeOutside(resp *http.Response, body []byte, head bool) error {
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusTooManyRequests:
	case http.StatusMethodNotAllowed:
		if resp.Header.Get("Allow") == "" {
			return fmt.Errorf("405 without Allow")
		}
	default:
		return fmt.Errorf("the document has no such route")
	}
	if head {
		return nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return document.Components.Schemas["Error"].Value.VisitJSON(v, openapi3.EnableJSONSchema2020())
}

// judgeSecrets fails if an answer has a secret in it, but for the one that it
// gives out.
func judgeSecrets(t testing.TB, req *http.Request, resp *http.Response, body []byte) {
	t.Helper()
	text := string(body)
	if resp.StatusCode == 201 || resp.StatusCode == 200 && strings.HasSuffix(req.URL.Path, "/rotate") {
		var v struct{ Secret string }
		require.NoError(t, json.Unmarshal(body, &v))
		require.Len(t, v.Secret, 64)
		text = strings.ReplaceAll(text, v.Secret, "")
		secrets.add(v.Secret[21:])
	}
	for _, secret := range secrets.all() {
		require.NotContains(t, text, secret, "a secret is in the answer to %s %s", req.Method, req.URL)
	}
	require.NotContains(t, text, adminToken)
}

// TestMain fails unless the tests have seen every answer that the document
// names. It does not ask for it when only some of the tests are run.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 && flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && flag.Lookup("test.list").Value.String() == "" {
		for _, missing := range uncovered() {
			fmt.Println("no test has seen the answer", missing)
			code = 1
		}
	}
	os.Exit(code)
}

// uncovered returns the answers of the document that were not seen.
func uncovered() []string {
	var missing []string
	for path, item := range document.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				name := method + " " + path + " " + status
				if _, ok := covered.Load(name); !ok {
					missing = append(missing, name)
				}
			}
		}
	}
	slices.Sort(missing)
	return missing
}
