package conform

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/visible"
	"github.com/ipallow/ipallow/conformance"
)

// maxShown is how much of a wanted or given answer is printed, in bytes.
const maxShown = 600

// Print writes the result for people. What came from the program is printed
// without the characters that could steer a terminal.
func (r *Result) Print(out io.Writer) error {
	w := bufio.NewWriter(out)
	for _, f := range r.Failures {
		printFailure(w, f)
	}
	if n := len(r.Unanswered); n > 0 {
		fmt.Fprintf(w, "FAIL  %d cases were not answered; the first is %q\n", n, r.Unanswered[0])
	}
	for _, f := range r.Faults {
		fmt.Fprintf(w, "FAULT %s\n", visible.Text(f))
	}
	if r.Stderr != "" {
		fmt.Fprintf(w, "The program's standard error ended with:\n")
		for line := range strings.Lines(r.Stderr) {
			fmt.Fprintf(w, "  | %s\n", visible.Text(strings.TrimRight(line, "\r\n")))
		}
	}
	if len(r.Failures)+len(r.Unanswered)+len(r.Faults) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%-10s %7s %7s\n", "file", "passed", "failed")
	for _, f := range r.Files {
		fmt.Fprintf(w, "%-10s %7d %7d\n", f.File, f.Passed, f.Failed)
	}
	fmt.Fprintf(w, "%-10s %7d %7d\n", "all", r.Passed, r.Failed)
	if r.OK {
		fmt.Fprintln(w, "\nThe program conforms.")
	} else {
		fmt.Fprintln(w, "\nThe program does not conform.")
	}
	return w.Flush()
}

func printFailure(w io.Writer, f conformance.Failure) {
	where := ""
	if f.Where != "" {
		where = " (" + f.Where + ")"
	}
	fmt.Fprintf(w, "FAIL  %s: %s%s\n      reason: %s\n      want:   %s\n      got:    %s\n", f.File, f.Name, where,
		f.Reason, visible.Text(cut(f.Want, maxShown)), visible.Text(cut(f.Got, maxShown)))
}
