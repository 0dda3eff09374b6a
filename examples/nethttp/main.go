// Command nethttp is the smallest server with an allowlist: net/http, two keys
// and one list.
package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/httpallow"
)

func main() {
	engine := ipallow.New(nil)
	entries, err := engine.Policy().ParseList([]string{"203.0.113.0/24", "2001:db8:1::7"})
	if err != nil {
		log.Fatal(err) // every faulty entry, not only the first
	}
	if err := engine.Set("key_1", entries); err != nil {
		log.Fatal(err)
	}
	handler, err := protect(engine, http.HandlerFunc(hello))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", handler))
}

func hello(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }

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
	ids := map[string]string{"Bearer secret-1": "key_1", "Bearer secret-2": "key_2"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := ids[r.Header.Get("Authorization")]
		if !ok {
			httpallow.Unauthorized(w, r)
			return
		}
		next.ServeHTTP(w, r.WithContext(httpallow.ContextWithKey(r.Context(), id)))
	})
}

// requireScope stands for your own: both keys may only read.
func requireScope(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "SCOPE_MISSING: the key may only read", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
