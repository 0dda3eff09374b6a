package conform

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"time"

	"github.com/ipallow/ipallow/conformance"
)

// maxFaults is how many faulty lines of a program are listed before it is
// stopped.
const maxFaults = 100

// DefaultTimeout is how long a program may be silent.
const DefaultTimeout = 30 * time.Second

// Options are the choices for [Exec].
type Options struct {
	// Timeout is how long the program may go without a new answer, and how
	// long it may take to end after the last. Default (0): DefaultTimeout.
	Timeout time.Duration

	// Progress, if not nil, is called after each answer with the number of
	// cases answered and of all. It must return soon.
	Progress func(answered, all int)

	// Env, if not nil, is the program's environment, as of os/exec.
	Env []string
}

// Exec starts the program, puts the cases to it and judges its answers. All
// that a program does wrong is in the result. An error means that it could
// not be started, or that ctx was done.
//
// The program is stopped when Exec returns. Programs that it has started
// itself are not, but lose their input and output.
func Exec(ctx context.Context, program string, args []string, cases []conformance.Case, opts Options) (*Result, error) {
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(running, program, args...)
	cmd.WaitDelay = time.Second // for the output of programs that it has started
	cmd.Env = opts.Env
	stderr := new(tail)
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}

	asked := make(chan error, 1)
	go func() { asked <- ask(stdin, cases) }()
	lines := make(chan heard)
	go listen(running, stdout, lines)

	j := newJudge(cases)
	follow(running, lines, j, opts)
	ended := finish(cmd, stop, j, opts.Timeout)
	<-asked // the program is gone, so that writing to it has ended
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if ended != nil && !j.stopped {
		j.fault("the program ended with %v", ended)
	}
	r := j.result()
	r.Program = append([]string{program}, args...)
	if !r.OK {
		r.Stderr = stderr.String()
	}
	return r, nil
}

// ask writes all questions and closes the input. An error is that the
// program does not read on; what it answers nevertheless counts.
func ask(stdin io.WriteCloser, cases []conformance.Case) error {
	w := bufio.NewWriter(stdin)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range cases {
		if err := enc.Encode(cases[i].Question); err != nil {
			stdin.Close()
			return err
		}
	}
	return errors.Join(w.Flush(), stdin.Close())
}

// heard is a line of the program, or what was wrong with it.
type heard struct {
	line []byte
	err  error
}

// listen sends the program's lines until its output ends.
func listen(ctx context.Context, stdout io.Reader, lines chan<- heard) {
	defer close(lines)
	r := newLineReader(stdout)
	for {
		line, err := r.next()
		if err != nil && !errors.Is(err, errLineTooLong) {
			return // the end, or the pipe was closed after the program's end
		}
		select {
		case lines <- heard{append([]byte(nil), line...), err}:
		case <-ctx.Done():
			return
		}
	}
}

// follow judges lines until the output ends, or the program is silent for
// too long, or has said too much that is no answer. Only a new answer counts
// as a sign of life.
func follow(ctx context.Context, lines <-chan heard, j *judge, opts Options) {
	timer := time.NewTimer(opts.Timeout)
	defer timer.Stop()
	for {
		select {
		case h, ok := <-lines:
			if !ok {
				return
			}
			if j.hear(h) {
				timer.Reset(opts.Timeout)
				if opts.Progress != nil {
					opts.Progress(j.answered, len(j.cases))
				}
			}
			if len(j.faults) >= maxFaults {
				j.stop("it was stopped after %d faulty lines", maxFaults)
				return
			}
		case <-timer.C:
			if left := len(j.cases) - j.answered; left > 0 {
				j.stop("it was stopped after %v without an answer, with %d cases not answered", opts.Timeout, left)
			} else {
				j.stop("it was stopped because %v after its last answer it had not ended, though its input was closed", opts.Timeout)
			}
			return
		case <-ctx.Done():
			j.stopped = true
			return
		}
	}
}

// finish waits for the program's end, which it brings about if need be.
func finish(cmd *exec.Cmd, stop func(), j *judge, timeout time.Duration) error {
	if j.stopped {
		stop()
	}
	late := make(chan struct{})
	timer := time.AfterFunc(timeout, func() {
		close(late)
		stop()
	})
	err := cmd.Wait()
	if !timer.Stop() {
		<-late
		if err != nil && !j.stopped {
			j.stop("it was stopped because %v after it had closed its output it had not ended", timeout)
		}
	}
	// A program that it has left behind may hold the pipe of its messages.
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// tail keeps the last bytes that are written to it.
type tail struct{ b []byte }

const tailLen = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-tailLen):]...)
	t.b = append(t.b[:0], t.b[max(0, len(t.b)-tailLen):]...)
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }
