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
		// The first is this goroutine. Tests that are not over, and the one
		// goroutine that waits for them, are none of those looked for; nor
		// are those of the runtime, which name no function of these packages.
		test := strings.Contains(g, "testing.tRunner(") || strings.Contains(g, "testing.(*M).Run(")
		if i > 0 && !test && (strings.Contains(g, "ipallow/ipallow") || strings.Contains(g, "golang-lru")) {
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
