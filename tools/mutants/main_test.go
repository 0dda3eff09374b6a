package main

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree is a module with one package, whose tests see some faults and not others.
var tree = map[string]string{
	"go.mod": "module example.com/tree\n\ngo 1.26\n",
	"sum/sum.go": `package sum

func Sum(s []int) int {
	total := 0
	for _, n := range s {
		total += n
	}
	return total
}

func Max(s []int) int {
	best := s[0]
	for _, n := range s {
		if n > best {
			best = n
		}
	}
	return best
}
`,
	"sum/sum_test.go": `package sum

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
)

func TestSum(t *testing.T) {
	if Sum([]int{1, 2}) != 3 {
		t.Fatal("wrong sum")
	}
}

func TestMax(t *testing.T) { // does not see much
	if Max([]int{2, 1}) < 1 {
		t.Fatal("wrong max")
	}
}

func TestBroken(t *testing.T) { t.Fatal("fails in any case") }

func TestSkipped(t *testing.T) { t.Skip("not here") }

// TestProgram sees faults in a program that is built by the go command.
func TestProgram(t *testing.T) {
	name := t.TempDir() + "/program"
	if out, err := exec.Command("go", "build", "-o", name, "example.com/tree/program").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(name).CombinedOutput(); err != nil || string(out) != "3\n" {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestChild starts a process that has a connection, and waits for it, unless Sum is right.
func TestChild(t *testing.T) {
	if Sum([]int{1, 2}) == 3 {
		return
	}
	conn, err := net.Dial("tcp", os.Getenv("STARTED"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "600")
	if cmd.Stdin, err = conn.(*net.TCPConn).File(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(conn, t.TempDir())
	cmd.Wait()
}
`,
	"program/main.go": `package main

import "example.com/tree/sum"

func main() { println(sum.Sum([]int{1, 2})) }
`,
}

// A try is one run of the program on a tree of its own.
type try struct {
	t    *testing.T
	root string
}

func newTry(t *testing.T) *try {
	t.Helper()
	root := t.TempDir()
	for name, text := range tree {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &try{t, root}
}

// run runs the program with a list and returns its status and all that it printed.
func (y *try) run(list string, args ...string) (int, string) {
	y.t.Helper()
	var out bytes.Buffer
	args = append([]string{"--root", y.root}, args...)
	status := run(y.t.Context(), append(args, y.write(list)), &out, &out)
	return status, out.String()
}

func (y *try) write(list string) (path string) {
	y.t.Helper()
	path = filepath.Join(y.t.TempDir(), "sum.txt")
	if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
		y.t.Fatal(err)
	}
	return path
}

const head = "package: sum\nfile: sum.go\n\n"

const noSum = head + `mutation: nothing is added
tests: TestSum
 	for _, n := range s {
-		total += n
+		_ = n
 	}
`

func TestRun(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		list   string
		args   []string
		status int
		want   []string
	}{
		"killed": {list: noSum, want: []string{
			"[1/1] sum: nothing is added ... killed by TestSum (", "\n1 of 1 mutations were seen by their tests; ",
		}},
		"survives": {
			list: noSum + `
mutation: the largest is the smallest
tests: TestMax
-		if n > best {
+		if n < best {
`,
			status: 1,
			want: []string{
				"[2/2] sum: the largest is the smallest ... FAILED\n    SURVIVED: TestMax passed.",
				"\nFailed:\nsum.txt:11: the largest is the smallest\n",
				"1 of 2 mutations failed, 1 of them survived",
			},
		},
		"no such lines": {
			list:   head + "mutation: gone\ntests: TestSum\n-	total := 7\n+	total := 8\n",
			status: 1,
			want:   []string{"1 of 1 mutations do not apply; nothing was run", "sum.txt:6: sum/sum.go has no such lines:\n    \ttotal := 7"},
		},
		"a part of a line is no line": {
			list:   head + "mutation: gone\ntests: TestSum\n-total := 0\n+total := 1\n",
			status: 1,
			want:   []string{"has no such lines"},
		},
		"lines that are there twice": {
			list:   head + "mutation: twice\ntests: TestSum\n-	for _, n := range s {\n+	for n := range s {\n",
			status: 1,
			want:   []string{"sum/sum.go has these lines 2 times; give more lines around them"},
		},
		"moved to another file": {
			list:   "package: sum\nfile: add.go\nmutation: moved\ntests: TestSum\n-	total := 0\n+	total := 1\n",
			status: 1,
			want:   []string{"there is no sum/add.go; they are in sum/sum.go now: correct"},
		},
		"one that is not chosen does not apply": {
			list:   noSum + "\nmutation: gone\ntests: TestSum\n-	total := 7\n+	total := 8\n",
			args:   []string{"--match", "nothing"},
			status: 1,
			want:   []string{"1 of 2 mutations do not apply"},
		},
		"no such test": {
			list:   head + "mutation: unnamed\ntests: TestSums\n-	total := 0\n+	total := 1\n",
			status: 1,
			want:   []string{"sum.txt:4: sum has no test TestSums"},
		},
		"does not compile": {
			list:   head + "mutation: a fault of the list\ntests: TestSum\n-	total := 0\n+	total := none\n",
			status: 1,
			want:   []string{"does not compile", "undefined: none", "1 of 1 mutations failed, 0 of them survived"},
		},
		"does not compile, and must not": {
			list: head + "mutation: the compiler sees it\ncompiles: no\n-	total := 0\n+	total := none\n",
			want: []string{"does not compile, as it must not", "\n1 of 1 mutations were seen"},
		},
		"compiles, and must not": {
			list:   head + "mutation: the compiler sees it\ncompiles: no\n-	total := 0\n+	total := 1\n",
			status: 1,
			want:   []string{"SURVIVED: it must not compile, and does"},
		},
		"fails in any case": {
			list:   head + "mutation: seen by a broken test\ntests: TestSum TestBroken\n-	total := 0\n+	total := 1\n",
			status: 1,
			want:   []string{"TestBroken does not pass without a mutation", "fails in any case"},
		},
		"skipped": {
			list:   head + "mutation: seen by nobody\ntests: TestSkipped\n-	total := 0\n+	total := 1\n",
			status: 1,
			want:   []string{"TestSkipped does not pass without a mutation", "not here"},
		},
		"one of two tests sees nothing": {
			list:   head + "mutation: begins with one\ntests: TestSum TestMax\n-	total := 0\n+	total := 1\n",
			status: 1,
			want:   []string{"the tests failed, but TestMax passed: correct"},
		},
		"hangs": {
			list: head + "mutation: without end\ntests: TestSum\ntimeout: 2s\n-	total := 0\n+	total := 0\n+	select {}\n",
			want: []string{"without end ... killed by ", "\n1 of 1 mutations were seen"},
		},
		"runs without end": {
			list: head + "mutation: without end\ntests: TestSum\ntimeout: 2s\n-	total := 0\n+	total := 0\n+	for len(s) > 0 {\n+	}\n",
			want: []string{"killed by the timeout of 2s", "1 of 1 mutations were seen by their tests, 1 of them by a timeout;"},
		},
		"panics": {
			list: head + "mutation: panics\ntests: TestSum\n-	total := 0\n+	total := s[len(s)]\n",
			want: []string{"killed by TestSum ("},
		},
		"panics in another goroutine": {
			list: head + "mutation: panics\ntests: TestSum\n-	total := 0\n+	total := 0\n+	go func() { panic(1) }()\n+	select {}\n",
			want: []string{"killed by the end of the test program ("},
		},
		"a program that a test builds": {
			list: strings.ReplaceAll(noSum, "TestSum", "TestProgram"),
			want: []string{"killed by TestProgram ("},
		},
		"two changes, one in another directory": {
			list: `package: sum
files: .

mutation: one more for each
tests: TestProgram
file: sum/sum.go
-	total := 0
+	total := 1
@@
-		total += n
+		total += 2 * n
file: program/main.go
-func main() { println(sum.Sum([]int{1, 2})) }
+func main() { println(sum.Sum([]int{1})) }
`,
			status: 1, // 1 + 2*1 is 3 as well, so all three changes were made
			want:   []string{"SURVIVED: TestProgram passed"},
		},
		"nothing matches": {list: noSum, args: []string{"--match", "zebra"}, status: 2, want: []string{`none of the 1 mutations matches "zebra"`}},
		"a list that does not apply": {
			list:   head + "mutation: gone\ntests: TestSum\n-	total := 7\n+	total := 8\n",
			args:   []string{"--list"},
			status: 1,
			want:   []string{"1 of 1 mutations do not apply"},
		},
		"list":          {list: noSum, args: []string{"--list"}, want: []string{"sum: nothing is added\n"}},
		"help":          {list: noSum, args: []string{"--help"}, want: []string{"make mutants", "-sample many"}},
		"wrong flag":    {list: noSum, args: []string{"--smaple"}, status: 2, want: []string{"not defined"}},
		"no expression": {list: noSum, args: []string{"--match", "("}, status: 2, want: []string{"--match: "}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, out := newTry(t).run(c.list, c.args...)
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("the output lacks %q", want)
				}
			}
			if t.Failed() {
				t.Logf("the output:\n%s", out)
			}
		})
	}
}

func TestListFaults(t *testing.T) {
	t.Parallel()
	change := "-	total := 0\n+	total := 1\n"
	cases := map[string]struct{ list, want string }{
		"no package":        {"mutation: a\nfile: sum.go\ntests: TestSum\n" + change, `"a" has no package`},
		"no change":         {head + "mutation: a\ntests: TestSum\n", `"a" has no change`},
		"no tests":          {head + "mutation: a\n" + change, `"a" names no tests`},
		"no test's name":    {head + "mutation: a\ntests: TestSum, TestMax\n" + change, `"TestSum," is not the name of a test`},
		"no place":          {head + "mutation: a\ntests: TestSum\n+	x\n", "has no line that is there now"},
		"changes nothing":   {head + "mutation: a\ntests: TestSum\n 	total := 0\n", "changes nothing"},
		"replaced by equal": {head + "mutation: a\ntests: TestSum\n-	x\n+	x\n", "changes nothing"},
		"twice":             {noSum + strings.TrimPrefix(noSum, head), `"nothing is added" is in the list twice`},
		"unknown key":       {head + "test: TestSum\n", `unknown key "test"`},
		"no file":           {"package: sum\nmutation: a\ntests: TestSum\n" + change, `needs "mutation:" and "file:"`},
		"no key":            {head + "mutation a\n", `want "key: value"`},
		"bad timeout":       {head + "timeout: 3\n", "want a time such as 90s"},
		"bad choice":        {head + "race: on\n", "want yes or no"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, out := newTry(t).run(c.list)
			if status != 1 || !regexp.MustCompile(`sum\.txt:\d+: `).MatchString(out) || !strings.Contains(out, c.want) {
				t.Errorf("status %d, want 1 and %q:\n%s", status, c.want, out)
			}
		})
	}
}

// TestSample: the same seed chooses the same mutations, another seed others.
func TestSample(t *testing.T) {
	t.Parallel()
	list := head
	for i := range 40 {
		list += "mutation: number " + string(rune('A'+i)) + "\ntests: TestSum\n-	total := 0\n+	total := 1\n\n"
	}
	y := newTry(t)
	chosen := func(seed string) []string {
		_, out := y.run(list, "--list", "--sample", "5", "--seed", seed)
		return strings.Split(strings.TrimSpace(out), "\n")
	}
	one, again, other := chosen("one"), chosen("one"), chosen("two")
	if len(one) != 5 || !slices.Equal(one, again) || slices.Equal(one, other) || !slices.IsSorted(one) {
		t.Errorf("chosen by seeds:\n%q\n%q\n%q", one, again, other)
	}
}

// TestInterrupt: an interrupt ends the tests, what they started, and leaves no file.
// It is not parallel, as it sets the directory of temporary files.
func TestInterrupt(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	y := newTry(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("STARTED", listener.Addr().String())
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out bytes.Buffer
	status := make(chan int, 1)
	path := y.write(strings.ReplaceAll(noSum, "TestSum", "TestChild"))
	go func() { status <- run(ctx, []string{"--root", y.root, path}, &out, &out) }()

	listener.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
	conn, err := listener.Accept()
	if err != nil {
		t.Fatalf("the test of the mutant did not start: %v", err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	lines := bufio.NewReader(conn)
	inTest, err := lines.ReadString('\n')
	if err != nil || !strings.HasPrefix(inTest, tmp) {
		t.Errorf("the test's files were in %q, not below %s: %v", inTest, tmp, err)
	}
	interrupt()
	if _, err := lines.ReadByte(); err == nil || os.IsTimeout(err) {
		t.Errorf("the process that the test started still runs: %v", err)
	}
	if got := <-status; got != 130 || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("status %d, want 130:\n%s", got, out.String())
	}
	left, err := filepath.Glob(filepath.Join(tmp, "mutants*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
