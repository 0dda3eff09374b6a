package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/server"
)

const token = "adm_logload_0123456789abcdefghijklmnopqrs"

// start starts a whole server on the data directory.
func (m *measured) start(ctx context.Context) (*server.Server, error) {
	cfg := server.Defaults()
	cfg.Listen, cfg.AdminListen, cfg.Data = "127.0.0.1:0", "127.0.0.1:0", m.data
	cfg.AdminToken, cfg.AllowNonPublic = token, true
	cfg.LogRetention, cfg.LogMaxBytes = 0, 64<<30
	return server.Start(ctx, cfg, slog.New(slog.DiscardHandler))
}

// call makes a request of the management API, or of the gateway with the key.
func call(ctx context.Context, method, url, bearer string, body, into any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, sent)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
	case into != nil:
		return json.Unmarshal(text, into)
	}
	return nil
}

// makeKey makes the key that has most of the log's requests.
func (m *measured) makeKey(ctx context.Context) error {
	s, err := m.start(ctx)
	if err != nil {
		return err
	}
	var made struct{ ID, Secret string }
	err = call(ctx, "POST", "http://"+s.Addrs()[1].String()+"/api/v1/keys", token, map[string]any{"name": "busy", "scopes": []string{"read"}}, &made)
	m.key, m.secret = made.ID, made.Secret
	if e := s.Close(ctx); err == nil {
		err = e
	}
	return err
}

// beside measures what must not wait for charts, without charts and beside them.
func (m *measured) beside(ctx context.Context) error {
	s, err := m.start(ctx)
	if err != nil {
		return err
	}
	defer s.Close(ctx)
	gateway, management := "http://"+s.Addrs()[0].String(), "http://"+s.Addrs()[1].String()
	saved := 0
	asks := []struct {
		name string
		do   func() error
	}{
		{"save of a list", func() error {
			saved++ // two lists in turn, which the key's addresses are on
			list := []any{map[string]any{"entry": "203.0.0.0/16"}, map[string]any{"entry": "127.0.0.0/9"}, map[string]any{"entry": fmt.Sprintf("198.51.100.%d", saved%2)}}
			return call(ctx, "PUT", management+"/api/v1/keys/"+m.key+"/allowlist", token, map[string]any{"entries": list, "confirm_lockout": true}, nil)
		}},
		{"question whom a list locks out", func() error {
			list := []any{map[string]any{"entry": "198.51.100.0/24"}}
			err := call(ctx, "PUT", management+"/api/v1/keys/"+m.key+"/allowlist", token, map[string]any{"entries": list}, nil)
			if err == nil || !strings.Contains(err.Error(), "WOULD_LOCK_OUT") {
				return fmt.Errorf("a list that locks out addresses in use: %v", err)
			}
			return nil
		}},
		{"first page of the log", func() error { return call(ctx, "GET", management+"/api/v1/logs?limit=50", token, nil, nil) }},
		{"request through the gateway", func() error { return call(ctx, "GET", gateway+"/v1/ping", m.secret, nil, nil) }},
	}
	fmt.Fprintf(m.out, "| over HTTP | alone, p50 | p99 | beside %d charts, p50 | p99 | longest |\n| --- | ---: | ---: | ---: | ---: | ---: |\n", m.opt.charts)
	table := make([][2][]time.Duration, len(asks))
	var done atomic.Int64
	var busy time.Duration
	for beside := range 2 {
		stop := func() {}
		if beside == 1 {
			stop = m.draw(ctx, management, &done)
		}
		start := time.Now()
		for i, ask := range asks {
			for range m.opt.saves {
				start := time.Now()
				if err := ask.do(); err != nil {
					stop()
					return fmt.Errorf("%s: %w", ask.name, err)
				}
				table[i][beside] = append(table[i][beside], time.Since(start))
			}
			slices.Sort(table[i][beside])
		}
		busy = time.Since(start)
		stop()
	}
	for i, ask := range asks {
		alone, beside := table[i][0], table[i][1]
		fmt.Fprintf(m.out, "| %s | %s | %s | %s | %s | %s |\n", ask.name, millis(alone[len(alone)/2]), millis(alone[len(alone)*99/100]),
			millis(beside[len(beside)/2]), millis(beside[len(beside)*99/100]), millis(beside[len(beside)-1]))
	}
	fmt.Fprintf(m.out, "\n%d charts were drawn meanwhile, in %.1f s.\n", done.Load(), busy.Seconds())
	return nil
}

// draw asks for charts without end, until stop is called.
func (m *measured) draw(ctx context.Context, management string, done *atomic.Int64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range m.opt.charts {
		wg.Go(func() {
			q := url.Values{"path": {fmt.Sprintf("/v1/users/%d", i)}, "from": {m.begin.UTC().Format(time.RFC3339)}, "to": {m.end.UTC().Format(time.RFC3339)}, "width": {"1d"}}
			for ctx.Err() == nil {
				switch err := call(ctx, "GET", management+"/api/v1/logs/summary?"+q.Encode(), token, nil, nil); {
				case err == nil:
					done.Add(1)
				case ctx.Err() == nil:
					fmt.Fprintln(m.progress, err)
					return
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}
