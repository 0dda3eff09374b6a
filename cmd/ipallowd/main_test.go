package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

const testToken = "adm_test-token-0123456789"

// TestMain runs the program itself where a test started it as a child.
func TestMain(m *testing.M) {
	if os.Getenv("IPALLOWD_TEST_CHILD") == "1" {
		os.Unsetenv("IPALLOWD_TEST_CHILD")
		main()
		return
	}
	code := m.Run()
	fleettest.RemoveProgram()
	os.Exit(code)
}

// An output is what a process says while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// A process is a running ipallowd.
type process struct {
	t                   *testing.T
	cmd                 *exec.Cmd
	stderr              *output
	gateway, management string // management is the status listener of a gateway
	client              *http.Client
}

var bannerURL = regexp.MustCompile(`(?m)^  (gateway|settings|status) +(https?://[^/ \n]+)`)

// start runs "ipallowd serve" as a process of its own on free ports.
func start(t *testing.T, data string, args ...string) *process {
	t.Helper()
	return launch(t, append([]string{
		"serve", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--allow-non-public",
	}, args...)...)
}

// launch runs ipallowd as a process of its own, and waits for its banner.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	return launchCommand(t, exec.Command(os.Args[0], args...))
}

func launchCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, stderr: new(output), client: &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: 16},
	}}
	p.cmd.Env = append(os.Environ(), "IPALLOWD_TEST_CHILD=1", "IPALLOWD_ADMIN_TOKEN="+testToken)
	p.cmd.Stderr = p.stderr
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(p.kill)
	lines := bufio.NewScanner(out)
	for p.gateway == "" || p.management == "" {
		if !lines.Scan() {
			p.kill()
			t.Fatalf("ipallowd ended before it was ready:\n%s", p.stderr)
		}
		switch m := bannerURL.FindStringSubmatch(lines.Text()); {
		case m == nil:
		case m[1] == "gateway":
			p.gateway = m[2]
		default:
			p.management = m[2]
		}
	}
	go io.Copy(io.Discard, out)
	return p
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.client.CloseIdleConnections()
}

// api calls the management API and decodes the answer into into.
func (p *process) api(method, path string, body, into any) (status int, err error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, p.management+"/api/v1"+path, r)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+testToken)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(into)
}

// ping calls the gateway with a key.
func (p *process) ping(secret string) (status int, requestID string, err error) {
	req, err := http.NewRequest("GET", p.gateway+"/v1/ping", nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, "", err
	}
	return resp.StatusCode, resp.Header.Get("X-Request-Id"), nil
}

type entry struct {
	Entry string `json:"entry"`
	Label string `json:"label"`
}

type createdKey struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// create makes a key and demands that it was made.
func (p *process) create(name string, list ...entry) createdKey {
	p.t.Helper()
	var k createdKey
	status, err := p.api("POST", "/keys", map[string]any{"name": name, "scopes": []string{"read"}, "allowlist": append([]entry{}, list...)}, &k)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusCreated, status)
	return k
}

func TestServe(t *testing.T) {
	p := start(t, t.TempDir())
	open := p.create("open")
	here := p.create("here", entry{"127.0.0.1", "this machine"})
	elsewhere := p.create("elsewhere", entry{"203.0.113.0/24", "office"})
	for _, test := range []struct {
		secret string
		want   int
	}{
		{open.Secret, 200}, {here.Secret, 200}, {elsewhere.Secret, 403}, {here.Secret + "x", 401}, {"", 401},
	} {
		status, id, err := p.ping(test.secret)
		require.NoError(t, err)
		require.Equal(t, test.want, status)
		require.NotEmpty(t, id)
	}
	// A change that was acknowledged is enforced by the next request.
	for i := range 20 {
		list, want := []entry{{"203.0.113.7", ""}}, 403
		if i%2 == 1 {
			list, want = []entry{{"127.0.0.0/9", ""}}, 200
		}
		status, err := p.api("PUT", "/keys/"+here.ID+"/allowlist", map[string]any{"entries": list, "confirm_lockout": true}, nil)
		require.NoError(t, err)
		require.Equal(t, 200, status)
		status, _, err = p.ping(here.Secret)
		require.NoError(t, err)
		require.Equal(t, want, status)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 401, "/api/openapi.json": 401, "/login": 200} {
		resp, err := p.client.Get(p.management + path)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, want, resp.StatusCode, path)
	}
	req, err := http.NewRequest("GET", p.management+"/metrics", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+testToken)
	resp, err := p.client.Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	require.NoError(t, err)
	for _, want := range []string{
		"ipallowd_keys 3\n", "ipallowd_snapshot_keys 2\n", `ipallowd_verdicts_total{verdict="denied"} 11`,
		`ipallowd_requests_total{status="4xx"} 13`, `ipallowd_log_records_lost_total{cause="queue_full"} 0`,
		"ipallowd_request_duration_seconds_count 25",
	} {
		require.Contains(t, string(text), want)
	}
	p.kill() // and its output is whole
	require.NotContains(t, p.stderr.String(), here.Secret)
}

// The program stops by itself when it is told to, and what it kept is there
// at the next start.
func TestStopAndStart(t *testing.T) {
	data := t.TempDir()
	p := start(t, data)
	k := p.create("k", entry{"203.0.113.9", "x"})
	status, id, err := p.ping(k.Secret)
	require.NoError(t, err)
	require.Equal(t, 403, status)
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	require.NoError(t, p.cmd.Wait(), "%s", p.stderr)

	p = start(t, data)
	status, _, err = p.ping(k.Secret)
	require.NoError(t, err)
	require.Equal(t, 403, status)
	require.Contains(t, p.requestIDs(), id)
}

// requestIDs returns how often each request is in the log.
func (p *process) requestIDs() map[string]int {
	p.t.Helper()
	ids := map[string]int{}
	for path := "/logs?limit=1000"; ; {
		var page struct {
			Records []struct {
				RequestID string `json:"request_id"`
			} `json:"records"`
			Next string `json:"next"`
		}
		status, err := p.api("GET", path, nil, &page)
		require.NoError(p.t, err)
		require.Equal(p.t, 200, status)
		for _, r := range page.Records {
			ids[r.RequestID]++
		}
		if page.Next == "" {
			return ids
		}
		path = "/logs?limit=1000&cursor=" + page.Next
	}
}

// fails runs the program and returns its status and what it says.
func fails(t *testing.T, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var out, errOut bytes.Buffer
	code := run(ctx, args, &out, &errOut)
	require.NoError(t, ctx.Err(), "it should have ended by itself")
	return code, errOut.String()
}

func TestFaults(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	serve := func(args ...string) []string {
		return append([]string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)
	}
	gateway := func(args ...string) []string {
		return append([]string{"gateway", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0"}, args...)
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"serve", "--no-such"}, exitUsage, "ipallowd serve --help"},
		{[]string{"nothing"}, exitUsage, "there is no command"},
		{serve("extra"), exitUsage, "unknown command"},
		{serve("--listen", busy.Addr().String()), exitFailed, "--listen"},
		{serve("--admin-listen", "nowhere"), exitFailed, "HOST:PORT"},
		{serve("--trusted-proxies", "proxy.example"), exitFailed, "neither an address nor a network"},
		{serve("--trusted-proxies", "0.0.0.0/0"), exitFailed, "every address"},
		{serve("--trusted-proxies", "unix,10.0.0.0/8,10.1.2.3/24"), exitFailed, `--trusted-proxies, value 3, "10.1.2.3/24": host bits are set`},
		{serve("--trusted-proxies", "0.0.0.0/1,128.0.0.0/1"), exitFailed, "--trusted-proxies: IPv4: these networks together"},
		{serve("--trusted-proxies", "unix", "--client-ip-header", "X_Real_IP"), exitFailed, `--client-ip-header "X_Real_IP": a name with an underscore`},
		{serve("--client-ip-header", "X-Real-IP"), exitFailed, "needs --trusted-proxies"},
		{serve("--upstream", "ftp://x"), exitFailed, "--upstream"},
		{serve("--log-retention", "soon"), exitUsage, "30d"},
		{serve("--log-level", "loud"), exitUsage, "debug, info, warn or error"},
		{serve("--tls-cert", file), exitFailed, "go together"},
		{serve("--tls-cert", file, "--tls-key", file), exitFailed, "--tls-cert"},
		{serve("--data", filepath.Join(file, "x")), exitFailed, "--data"},
		{serve("--nats", "http://127.0.0.1"), exitFailed, "--nats"},
		{serve("--nats", "nats://127.0.0.1", "--nats-prefix", "a.b"), exitFailed, "--nats-prefix"},
		{serve("--nats", "nats://127.0.0.1", "--nats-replicas", "9"), exitFailed, "--nats-replicas"},
		{gateway(), exitFailed, "--nats"},
		{gateway("--nats", "nats://127.0.0.1:1", "--name", "a\tb"), exitFailed, "--name"},
		{gateway("--nats", "nats://127.0.0.1:1", "--max-stale", "0s"), exitFailed, "--max-stale"},
		{gateway("--nats", "nats://127.0.0.1:1", "--nats-creds", file+"x"), exitFailed, "--nats-creds"},
		{gateway("--nats", "nats://127.0.0.1:1", "--status-listen", busy.Addr().String()), exitFailed, "--status-listen"},
		{gateway("--admin-listen", "127.0.0.1:0"), exitUsage, "ipallowd gateway --help"},
	} {
		code, text := fails(t, test.args...)
		require.Equal(t, test.code, code, "%q: %s", test.args, text)
		require.Contains(t, text, test.want, "%q", test.args)
	}
}

func TestEnvironment(t *testing.T) {
	cmd := newServeCommand()
	env := map[string]string{
		"IPALLOWD_LISTEN": "127.0.0.1:1", "IPALLOWD_TRUSTED_PROXIES": "10.0.0.0/8,10.1.2.3",
		"IPALLOWD_REPORT_ONLY": "true", "IPALLOWD_LOG_RETENTION": "7d", "IPALLOWD_DATA": "from-environment",
	}
	require.NoError(t, cmd.Flags().Parse([]string{"--data", "from-flag"}))
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	require.NoError(t, fromEnvironment(cmd.Flags(), lookup))
	for flag, want := range map[string]string{
		"listen": "127.0.0.1:1", "trusted-proxies": "[10.0.0.0/8,10.1.2.3]", "report-only": "true",
		"log-retention": "7d", "data": "from-flag", "admin-listen": "127.0.0.1:8081",
	} {
		require.Equal(t, want, cmd.Flags().Lookup(flag).Value.String(), flag)
	}
	env["IPALLOWD_REPORT_ONLY"] = "perhaps"
	err := fromEnvironment(newServeCommand().Flags(), lookup)
	require.ErrorContains(t, err, "IPALLOWD_REPORT_ONLY")
	require.ErrorAs(t, err, new(usageError))
}

// The help shows every flag, and examples.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	require.Zero(t, run(context.Background(), []string{"serve", "--help"}, &out, io.Discard))
	for _, want := range []string{"--listen", "--admin-listen", "--data", "--upstream", "--trusted-proxies", "--client-ip-header", "--report-only", "--log-retention", "Examples:"} {
		require.Contains(t, out.String(), want)
	}
	require.False(t, strings.Contains(out.String(), "%!"))
}

// TestManagementBehindProxy has the administrator's address from the header
// of a trusted proxy, and from nobody else's.
func TestManagementBehindProxy(t *testing.T) {
	for _, tt := range []struct{ name, trusted, want string }{
		{"trusted", "127.0.0.1", "198.51.100.7"},
		{"another", "127.0.0.2", "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, t.TempDir(), "--trusted-proxies", tt.trusted)
			req, err := http.NewRequest("POST", p.management+"/api/v1/keys", strings.NewReader(`{"name":"a","scopes":["read"]}`))
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+testToken)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-Forwarded-For", "203.0.113.99, 198.51.100.7")
			resp, err := p.client.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, http.StatusCreated, resp.StatusCode)
			var trail struct {
				Records []struct {
					Address string `json:"address"`
				} `json:"records"`
			}
			_, err = p.api("GET", "/audit", nil, &trail)
			require.NoError(t, err)
			require.Len(t, trail.Records, 1)
			require.Equal(t, tt.want, trail.Records[0].Address)
		})
	}
}

// A text in the log is cut, in every format, whatever it came in.
func TestLongTextInLog(t *testing.T) {
	long := strings.Repeat("é", 50_000)
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		logger, err := newLogger(&out, format, "debug")
		require.NoError(t, err)
		logger.Debug(long, "text", long, "error", errors.New(long), "list", []string{long}, slog.Group("group", "text", long), "n", 5, "ok", "short")
		require.Less(t, out.Len(), 6*maxLogged)
		require.True(t, utf8.Valid(out.Bytes()))
		require.Contains(t, out.String(), "short")
		require.Equal(t, 5, strings.Count(out.String(), "…"))
	}
}
