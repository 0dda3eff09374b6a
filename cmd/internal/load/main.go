// Command load measures what enforcement and logging cost the gateway: wrk
// calls GET /v1/ping with keys drawn from all that are held, in turns of one
// server with allowlists and usage log, and the same server with both off.
//
//	go run ./cmd/internal/load
//
// Each server is a process of its own on loopback. It ends with 1 if an answer
// was not 200 or a usage record was lost.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(args []string, out, progress io.Writer) error {
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	var (
		keys        = fs.Int("keys", 100_000, "keys held, each with five entries")
		rounds      = fs.Int("count", 6, "rounds")
		seconds     = fs.Int("seconds", 10, "seconds of one turn")
		connections = fs.Int("connections", 32, "connections of wrk")
		wrk         = fs.String("wrk", "wrk", "the `program` wrk (Debian: apt-get install wrk)")
		serve       = fs.String("serve", "", "for internal use: run the server `on` or `off` on the directory of the argument")
	)
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if *serve != "" {
		return child(*serve == "on", fs.Arg(0), *keys, out)
	}
	if _, err := exec.LookPath(*wrk); err != nil {
		return fmt.Errorf("%w; install it (Debian: apt-get install wrk) or name it with -wrk", err)
	}
	dir, err := os.MkdirTemp("", "ipallow-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	servers := map[string]*process{}
	for _, mode := range []string{"off", "on"} {
		fmt.Fprintf(progress, "starting the server with both %s, %d keys\n", mode, *keys)
		s, err := startProcess(mode, filepath.Join(dir, mode), *keys)
		if err != nil {
			return err
		}
		defer s.stop()
		servers[mode] = s
	}
	figures := map[string][]figure{}
	for round := range *rounds {
		modes := []string{"off", "on"}
		if round%2 == 1 {
			slices.Reverse(modes)
		}
		for _, mode := range modes {
			f, err := servers[mode].measure(*wrk, dir, *connections, *seconds)
			if err != nil {
				return err
			}
			fmt.Fprintf(progress, "round %d, both %s: %.0f requests/s, p99 %v\n", round+1, mode, f.rate, f.p99)
			figures[mode] = append(figures[mode], f)
		}
	}
	stats, err := servers["on"].stop()
	if err != nil {
		return err
	}
	if _, err := servers["off"].stop(); err != nil {
		return err
	}
	total := int64(0)
	for _, f := range figures["on"] {
		total += f.requests
	}
	report(out, *keys, *connections, *seconds, figures, stats, total)
	switch {
	case stats.Lost != 0:
		return fmt.Errorf("%d usage records were lost", stats.Lost)
	case int64(stats.Kept) < total:
		return fmt.Errorf("wrk counted %d answers, and %d records are in the log", total, stats.Kept)
	}
	return nil
}

// A process is a child that runs a server.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	url    string
	tokens string // file with a token a line
	done   bool
	stats  logStats
	err    error
}

// logStats is what a child says at its end.
type logStats struct {
	Kept, Lost uint64
}

func startProcess(mode, dir string, keys int) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	s := &process{cmd: exec.Command(exe, "-serve", mode, "-keys", strconv.Itoa(keys), dir), tokens: filepath.Join(dir, "tokens")}
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewScanner(out)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if !s.out.Scan() {
		s.cmd.Wait()
		return nil, errors.New("the server did not start")
	}
	s.url = s.out.Text()
	return s, nil
}

// stop ends the child, which ends when its input does.
func (s *process) stop() (logStats, error) {
	if s.done {
		return s.stats, s.err
	}
	s.done = true
	s.in.Close()
	for s.out.Scan() {
		s.err = json.Unmarshal(s.out.Bytes(), &s.stats)
	}
	if err := s.cmd.Wait(); s.err == nil {
		s.err = err
	}
	return s.stats, s.err
}

// A figure is the result of one turn.
type figure struct {
	rate     float64
	p50, p99 time.Duration
	requests int64
}

// script has wrk draw a key for each request.
const script = `
local tokens = {}
function init(args)
  for line in io.lines(args[1]) do tokens[#tokens + 1] = "Bearer " .. line end
  math.randomseed(os.time())
end
function request()
  return wrk.format("GET", nil, {["Authorization"] = tokens[math.random(#tokens)]})
end
function done(summary, latency)
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
`

var result = regexp.MustCompile(`(?m)^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$`)

func (s *process) measure(wrk, dir string, connections, seconds int) (figure, error) {
	file := filepath.Join(dir, "keys.lua")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return figure{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds+30)*time.Second)
	defer cancel()
	text, err := exec.CommandContext(ctx, wrk, "-t1", "-c", strconv.Itoa(connections), "-d", strconv.Itoa(seconds)+"s",
		"-s", file, s.url+"/v1/ping", "--", s.tokens).CombinedOutput()
	m := result.FindSubmatch(text)
	if err != nil || m == nil {
		return figure{}, fmt.Errorf("wrk: %w: %s", err, bytes.TrimSpace(text))
	}
	n := make([]int64, len(m))
	for i := range m[1:] {
		n[i], _ = strconv.ParseInt(string(m[i+1]), 10, 64)
	}
	if n[2] != 0 {
		return figure{}, fmt.Errorf("%d answers were not 200 or did not come", n[2])
	}
	return figure{
		rate: float64(n[0]) / (float64(n[1]) / 1e6), requests: n[0],
		p50: time.Duration(n[3]) * time.Microsecond, p99: time.Duration(n[4]) * time.Microsecond,
	}, nil
}

func median[T any](figures []figure, value func(figure) T, less func(a, b T) int) T {
	v := make([]T, len(figures))
	for i, f := range figures {
		v[i] = value(f)
	}
	slices.SortFunc(v, less)
	return v[len(v)/2]
}

func report(out io.Writer, keys, connections, seconds int, figures map[string][]figure, stats logStats, total int64) {
	rate := func(f figure) float64 { return f.rate }
	cmp := func(a, b float64) int {
		if a < b {
			return -1
		}
		return 1
	}
	ms := func(get func(figure) time.Duration) func(figure) float64 {
		return func(f figure) float64 { return get(f).Seconds() * 1e3 }
	}
	p50 := ms(func(f figure) time.Duration { return f.p50 })
	p99 := ms(func(f figure) time.Duration { return f.p99 })
	var ratios []float64
	for i := range figures["on"] {
		ratios = append(ratios, figures["on"][i].rate/figures["off"][i].rate)
	}
	slices.Sort(ratios)
	fmt.Fprintf(out, "%d keys of five entries, %d connections, %d rounds of %d s in turns, medians; %s, %d processors, %s/%s\n\n",
		keys, connections, len(ratios), seconds, strings.TrimSpace(runtime.Version()), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintln(out, "| gateway, GET /v1/ping | requests a second | p50 | p99 |")
	fmt.Fprintln(out, "| --- | ---: | ---: | ---: |")
	for _, row := range []struct{ name, mode string }{{"allowlists and usage log off", "off"}, {"both on", "on"}} {
		f := figures[row.mode]
		fmt.Fprintf(out, "| %s | %.0f | %.2f ms | %.2f ms |\n", row.name, median(f, rate, cmp), median(f, p50, cmp), median(f, p99, cmp))
	}
	fmt.Fprintf(out, "\nRate with both on, against both off, in the same round: median %.1f%%, worst %.1f%%.\n", 100*ratios[len(ratios)/2], 100*ratios[0])
	fmt.Fprintf(out, "%d requests recorded, %d records in the log, %d lost.\n", total, stats.Kept, stats.Lost)
}
