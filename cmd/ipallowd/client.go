package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow/cmd/internal/server"
)

// A backend is where export and import find keys: a running server's API, or a
// data directory, which is asked by the same API without a server.
type backend struct {
	base   string
	token  string
	client *http.Client
	stored *server.Stored // nil: a running server
}

// A backendFlags chooses a backend.
type backendFlags struct {
	cfg            server.Config
	url, tokenFile string
}

func (b *backendFlags) add(cmd *cobra.Command) {
	b.cfg = server.Defaults()
	f := cmd.Flags()
	f.StringVar(&b.cfg.Data, "data", b.cfg.Data, "`directory` of a server that does not run")
	f.StringVar(&b.url, "url", "", "`URL` of a running server's management listener, such as https://127.0.0.1:8081, in place of --data")
	f.StringVar(&b.tokenFile, "token-file", "", "`file` with the token for --url; IPALLOWD_ADMIN_TOKEN holds it as well")
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if f.Changed("data") && f.Changed("url") { // and not by the environment
			return usageError{errors.New("give --data or --url, not both")}
		}
		return environment(cmd, args)
	}
}

func (b *backendFlags) open(cmd *cobra.Command) (*backend, error) {
	if b.url == "" {
		if b.tokenFile != "" {
			return nil, usageError{errors.New("--token-file is for --url; a data directory needs no token")}
		}
		cfg := b.cfg
		cfg.Given = func(string) bool { return false } // the policy is that of the directory
		stored, err := server.OpenStored(cmd.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		return &backend{base: "http://stored", token: "of-the-directory", stored: stored, client: &http.Client{Transport: inProcess{stored.API}}}, nil
	}
	u, err := url.Parse(b.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError{fmt.Errorf("--url %q: want one such as https://127.0.0.1:8081", b.url)}
	}
	token := os.Getenv(envPrefix + "ADMIN_TOKEN")
	if b.tokenFile != "" {
		text, err := os.ReadFile(b.tokenFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("--token-file: %w", err)}
		}
		token = strings.TrimSpace(string(text))
	}
	if token == "" {
		return nil, usageError{errors.New("--url needs the administrator's token: give --token-file, or IPALLOWD_ADMIN_TOKEN")}
	}
	// A token goes to the server that was named, and nowhere that it points to.
	client := &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &backend{base: strings.TrimSuffix(b.url, "/"), token: token, client: client}, nil
}

func (b *backend) close(ctx context.Context) error {
	if b.stored == nil {
		return nil
	}
	return b.stored.Close(ctx)
}

// inProcess answers requests by a handler.
type inProcess struct{ http.Handler }

func (h inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	r = r.Clone(r.Context())
	r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), "" // a caller without an address
	if r.Body == nil {
		r.Body = http.NoBody
	}
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// An answerError is an answer of the API other than the one asked for.
type answerError struct {
	status int
	Code   string `json:"code"`
	Text   string `json:"message"`
	Faults []struct {
		Index      int    `json:"index"`
		Input      string `json:"input"`
		Code       string `json:"code"`
		Reason     string `json:"reason"`
		Suggestion string `json:"suggestion"`
	} `json:"faults"`
}

func (e *answerError) Error() string { return fmt.Sprintf("%s (%d %s)", e.Text, e.status, e.Code) }

// do makes one call. etag is If-Match, and the answer's ETag is returned.
func (b *backend) do(ctx context.Context, method, path, etag string, in, out any) (string, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return "", err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, b.base+path, body)
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+b.token)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if etag != "" {
		r.Header.Set("If-Match", etag)
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		var failed struct {
			Error *answerError `json:"error"`
		}
		if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&failed) != nil || failed.Error == nil {
			return "", fmt.Errorf("%s answers %s and is not the management API of ipallowd; check --url", b.base, resp.Status)
		}
		failed.Error.status = resp.StatusCode
		return "", failed.Error
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return "", fmt.Errorf("the answer of %s%s: %w", b.base, path, err)
	}
	return resp.Header.Get("ETag"), nil
}

// A remoteKey is a key as the API shows it.
type remoteKey struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Restricted bool   `json:"restricted"`
}

// A remoteList is an allowlist as the API shows it.
type remoteList struct {
	Entries []listEntry `json:"entries"`
	etag    string
}

type listEntry struct {
	Entry string `json:"entry"`
	Label string `json:"label,omitempty"`
}

// keys returns the active keys, by identifier.
func (b *backend) keys(ctx context.Context) (map[string]remoteKey, error) {
	keys := make(map[string]remoteKey)
	for cursor := ""; ; {
		var page struct {
			Keys []remoteKey `json:"keys"`
			Next string      `json:"next"`
		}
		query := url.Values{"limit": {"500"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if _, err := b.do(ctx, "GET", "/api/v1/keys?"+query.Encode(), "", nil, &page); err != nil {
			return nil, err
		}
		for _, k := range page.Keys {
			keys[k.ID] = k
		}
		if cursor = page.Next; cursor == "" {
			return keys, nil
		}
	}
}

func (b *backend) list(ctx context.Context, id string) (l remoteList, err error) {
	l.etag, err = b.do(ctx, "GET", "/api/v1/keys/"+id+"/allowlist", "", nil, &l)
	return l, err
}
