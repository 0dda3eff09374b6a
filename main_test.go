package ipallow

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the suite if goroutines are left: the engine starts none
// that outlive a call.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leaked(); left != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "goroutines are left after the tests:\n\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leaked returns the stacks of the goroutines of this module that are still
// there after a second of waiting for them to end.
func leaked() string {
	var stacks []string
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if stacks = foreign(); len(stacks) == 0 {
			return ""
		}
	}
	return strings.Join(stacks, "\n\n")
}

func foreign() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var stacks []string
	for i, g := range strings.Split(string(buf), "\n\n") {
		// The first is this goroutine, and one that waits in testing.M runs
		// the tests. Goroutines of the runtime and of testing itself name no
		// function of these packages.
		if i > 0 && !strings.Contains(g, "testing.(*M).Run") && (strings.Contains(g, "ipallow.") || strings.Contains(g, "golang-lru")) {
			stacks = append(stacks, g)
		}
	}
	return stacks
}

func TestLeakIsSeen(t *testing.T) {
	stop := make(chan bool)
	go leaker(stop)
	for len(foreign()) == 0 { // ends when the goroutine has begun
		time.Sleep(time.Millisecond)
	}
	close(stop)
	if left := leaked(); left != "" {
		t.Fatal(left)
	}
}

func leaker(stop chan bool) { <-stop }
