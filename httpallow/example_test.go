package httpallow_test

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/httpallow"
)

// protect puts authentication, scope and allowlist before api, in this order.
func protect(engine *ipallow.Engine, api http.Handler) (http.Handler, error) {
	allow, err := httpallow.New(engine, &httpallow.Options{Key: httpallow.KeyFromContext})
	if err != nil {
		return nil, err
	}
	return authenticate(requireScope(allow.Handler(api))), nil // 401, then 403 by scope, then 403 by address
}

// authenticate stands for your own: it finds the key's identifier by its secret.
func authenticate(next http.Handler) http.Handler {
	ids := map[string]string{"Bearer s3cret": "key_1"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := ids[r.Header.Get("Authorization")]
		if !ok {
			httpallow.Unauthorized(w, r)
			return
		}
		next.ServeHTTP(w, r.WithContext(httpallow.ContextWithKey(r.Context(), id)))
	})
}

// requireScope stands for your own: key_1 may read.
func requireScope(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "the key may only read", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func Example() {
	engine := ipallow.New(nil)
	entries, err := engine.Policy().ParseList([]string{"203.0.113.0/24", "2001:db8:1::7"})
	if err != nil {
		log.Fatal(err) // every faulty entry, not only the first
	}
	if err := engine.Set("key_1", entries); err != nil {
		log.Fatal(err)
	}
	handler, err := protect(engine, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello")
	}))
	if err != nil {
		log.Fatal(err)
	}

	for _, request := range []struct{ method, authorization, peer string }{
		{"GET", "Bearer wrong", "198.51.100.4:41000"},
		{"POST", "Bearer s3cret", "198.51.100.4:41000"},
		{"GET", "Bearer s3cret", "198.51.100.4:41000"},
		{"GET", "Bearer s3cret", "203.0.113.9:41000"},
	} {
		r := httptest.NewRequest(request.method, "/", nil)
		r.RemoteAddr = request.peer
		r.Header.Set("Authorization", request.authorization)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		body, _ := io.ReadAll(w.Body)
		fmt.Printf("%d %.60s\n", w.Code, body)
	}
	// Output:
	// 401 {"error":{"code":"UNAUTHENTICATED","message":"Request has no
	// 403 the key may only read
	//
	// 403 {"error":{"code":"IP_NOT_ALLOWED","message":"Request IP addr
	// 200 hello
}

// A list is tried before it is enforced: what would be refused is logged.
func ExampleOptions_reportOnly() {
	engine := ipallow.New(nil)
	entries, err := engine.Policy().ParseList([]string{"203.0.113.0/24"})
	if err != nil {
		log.Fatal(err)
	}
	if err := engine.Set("key_1", entries); err != nil {
		log.Fatal(err)
	}
	withoutTime := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	allow, err := httpallow.New(engine, &httpallow.Options{
		Key:           httpallow.KeyFromContext,
		ReportOnlyKey: func(key string) bool { return key == "key_1" },
		Observe:       httpallow.LogTo(slog.New(slog.NewTextHandler(os.Stdout, withoutTime))),
	})
	if err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/v1/items", nil)
	r.RemoteAddr = "198.51.100.4:41000"
	r = r.WithContext(httpallow.ContextWithKey(r.Context(), "key_1"))
	w := httptest.NewRecorder()
	allow.Handler(http.NotFoundHandler()).ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output:
	// level=WARN msg="allowlist decision" outcome=reported verdict=denied key=key_1 client=198.51.100.4 method=GET path=/v1/items
	// 404
}
