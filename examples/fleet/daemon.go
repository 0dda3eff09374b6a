package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// adminToken is the administrator's token of the fleet, which lives as long as
// this program.
const adminToken = "adm_fleet-in-one-terminal-0123456789"

// program is what the fleet consists of.
const program = "github.com/ipallow/ipallow/cmd/ipallowd"

// build compiles ipallowd into dir and returns its path. flags are for go build.
func build(ctx context.Context, dir string, flags ...string) (string, error) {
	path := filepath.Join(dir, "ipallowd")
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build"}, flags...), "-o", path, program)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s\nrun this from a clone of the project", program, err, out)
	}
	return path, nil
}

// A daemon is an ipallowd in a process of its own: the management node or a
// gateway.
type daemon struct {
	process

	urlMu sync.Mutex
	urls  map[string]string // by what the banner calls them
}

var bannerURL = regexp.MustCompile(`^  (\w+) +(https?://[^/ \n]+)`)

// newDaemon prepares an ipallowd that keeps everything in a directory of its
// own below dir. It has started when it has said where both listeners are.
func newDaemon(binary, dir, name string, listens [2]string, args ...string) *daemon {
	d := &daemon{process: process{
		name: name, path: binary, args: append(args, "--data", filepath.Join(dir, name)), log: filepath.Join(dir, name+".log"),
		env: []string{"IPALLOWD_ADMIN_TOKEN=" + adminToken},
	}}
	d.ready = func(line string) bool {
		d.urlMu.Lock()
		defer d.urlMu.Unlock()
		if m := bannerURL.FindStringSubmatch(line); m != nil {
			d.urls[m[1]] = m[2]
		}
		return d.urls[listens[0]] != "" && d.urls[listens[1]] != ""
	}
	return d
}

// start runs it, and returns when it listens. After a kill it listens elsewhere.
func (d *daemon) start(ctx context.Context) error {
	d.urlMu.Lock()
	d.urls = make(map[string]string)
	d.urlMu.Unlock()
	return d.process.start(ctx)
}

// newManagement prepares the management node.
func newManagement(binary, dir, urls string, args ...string) *daemon {
	return newDaemon(binary, dir, "management", [2]string{"gateway", "settings"}, append([]string{
		"serve", "--nats", urls, "--nats-replicas", "3",
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1",
	}, args...)...)
}

// newGateway prepares a gateway. It trusts this machine to name the clients, so
// that they may have any address.
func newGateway(binary, dir, name, urls string, args ...string) *daemon {
	return newDaemon(binary, dir, name, [2]string{"gateway", "status"}, append([]string{
		"gateway", "--nats", urls, "--name", name,
		"--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1",
	}, args...)...)
}

// url returns where it listens for "gateway", "settings" or "status".
func (d *daemon) url(what string) string {
	d.urlMu.Lock()
	defer d.urlMu.Unlock()
	return d.urls[what]
}

// isReady returns nil if the daemon says that it may serve.
func (d *daemon) isReady(ctx context.Context) error {
	status, body, err := d.get(ctx, "/readyz")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", d.name, status, body)
	}
	return err
}

// get asks for a path of the status or the management listener.
func (d *daemon) get(ctx context.Context, path string) (status int, body string, err error) {
	base := d.url("status")
	if base == "" {
		base = d.url("settings")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(text)), err
}

// metric returns the sum of a metric over its labels.
func (d *daemon) metric(ctx context.Context, name string) (sum float64, err error) {
	status, body, err := d.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("%s: /metrics answered %d", d.name, status)
	}
	found := false
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (rest[0] != ' ' && rest[0] != '{') {
			continue
		}
		var value float64
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &value); err != nil {
			return 0, err
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("%s has no metric %s", d.name, name)
	}
	return sum, nil
}
