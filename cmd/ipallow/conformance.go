package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/conform"
	"github.com/ipallow/ipallow/conformance"
	"github.com/spf13/cobra"
)

func newConformanceCommand() *cobra.Command {
	var (
		program string
		timeout time.Duration
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "conformance --exec PROGRAM [-- ARGS...]",
		Short: "Put the conformance cases to a program in any language",
		Long: `Put the conformance cases to a program in any language.

The program reads a question from each line of its standard input, as JSON,
and writes an answer to a line of its standard output. The README of the
folder conformance describes both. "ipallow serve-stdio" is such a program.

The report names every case that failed, with the reason why it is there, what
was wanted and what was answered. The exit status is 0 if all cases passed and
the program kept to the protocol, and 1 if not.`,
		Example: `  ipallow conformance --exec ./my-program
  ipallow conformance --exec python3 -- conformance/examples/python/ipallow_conformance.py
  ipallow conformance --exec ipallow -- serve-stdio
  ipallow conformance --exec ./my-program --json | jq '.failures[].name'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if program == "" {
				return usage(errors.New("no program; name one with --exec PROGRAM"))
			}
			if timeout <= 0 {
				return usage(fmt.Errorf("--timeout is %v; it must be more than 0", timeout))
			}
			vectors, err := conformance.Load()
			if err != nil {
				return err
			}
			progress, done := caseProgress(cmd.ErrOrStderr())
			report, err := conform.Exec(cmd.Context(), program, args, vectors.Cases, conform.Options{
				Timeout:  timeout,
				Progress: progress,
			})
			done()
			if err != nil {
				err = fmt.Errorf("run %q: %w", program, err)
				if cmd.Context().Err() == nil {
					err = usage(err) // it could not be started
				}
				return err
			}
			if err := writeReport(cmd.OutOrStdout(), report, asJSON); err != nil {
				return err
			}
			if !report.OK {
				return result(exitDenied)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&program, "exec", "", "the `program` to try; its arguments follow --")
	cmd.Flags().DurationVar(&timeout, "timeout", conform.DefaultTimeout, "how long the program may go without a new answer")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

func writeReport(w io.Writer, r *conform.Result, asJSON bool) error {
	if !asJSON {
		return r.Print(w)
	}
	return printJSON(w, r, "  ")
}

// caseProgress shows how many cases are answered, ten times a second at most,
// if w is a terminal. The second function clears the line.
func caseProgress(w io.Writer) (progress func(answered, all int), done func()) {
	f, ok := w.(*os.File)
	if !ok {
		return nil, func() {}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil, func() {}
	}
	var last time.Time
	progress = func(answered, all int) {
		if now := time.Now(); now.Sub(last) >= 100*time.Millisecond {
			last = now
			fmt.Fprintf(f, "\r%d of %d cases answered", answered, all)
		}
	}
	return progress, func() {
		if !last.IsZero() {
			fmt.Fprint(f, "\r\x1b[K")
		}
	}
}
