package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/server"
)

// child runs a server until its input ends, and says then what is in its log.
func child(on bool, dir string, keys int, out io.Writer) error {
	cfg := server.Defaults()
	cfg.Listen, cfg.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Data = filepath.Join(dir, "data")
	cfg.AllowNonPublic = true // wrk calls from 127.0.0.1
	cfg.NoAllowlist, cfg.NoLog = !on, !on
	ctx := context.Background()
	s, err := server.Start(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	tokens, err := s.Manager.Import(ctx, manage.Actor{Name: "load"}, lists(keys))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "tokens"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, token := range tokens {
		fmt.Fprintln(w, token)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Fprintf(out, "http://%s\n", s.Addrs()[0])
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	var stats logStats
	if s.Log != nil {
		if err := s.Log.Flush(ctx); err != nil {
			return err
		}
		if err := s.Log.Close(ctx); err != nil {
			return err
		}
		end := s.Log.Stats()
		stats.Kept, stats.Lost = end.Stored, end.Lost.Total()
	}
	if err := s.Close(ctx); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(stats)
}

// lists makes keys with five entries each, one of which wrk calls from.
func lists(n int) func(yield func(manage.NewKey) bool) {
	return func(yield func(manage.NewKey) bool) {
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range n {
			k := manage.NewKey{Name: fmt.Sprintf("key %d", i), Scopes: []string{"read"}}
			for range 4 {
				addr := netip.AddrFrom4([4]byte{byte(1 + rng.IntN(9)), byte(rng.IntN(256)), byte(rng.IntN(256)), 0})
				k.Allowlist = append(k.Allowlist, manage.ListEntry{Entry: netip.PrefixFrom(addr, 24).String()})
			}
			k.Allowlist = append(k.Allowlist, manage.ListEntry{Entry: "127.0.0.1"})
			if !yield(k) {
				return
			}
		}
	}
}
