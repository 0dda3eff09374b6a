// Command ipallow tries allowlists of IP addresses before they go live: it
// validates lists, checks addresses against them, and replays request logs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The statuses that the program ends with.
const (
	exitOK     = 0 // served, valid
	exitDenied = 1 // denied, invalid, or a task that failed
	exitUsage  = 2 // wrong flags or arguments, files that cannot be read
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// commands make the subcommands, one a file.
var commands = []func() *cobra.Command{
	newConformanceCommand,
	newServeStdioCommand,
}

// A result is an error that only chooses the exit status: the command has
// said on its output what there is to say.
type result int

func (r result) Error() string { return fmt.Sprintf("exit status %d", int(r)) }

// A usageError is a fault of the command line or of a file named on it.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usage wraps err so that the program ends with exitUsage.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// run is the program: it returns the exit status. Commands read from
// cmd.InOrStdin and write to cmd.OutOrStdout and cmd.ErrOrStderr.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := &cobra.Command{
		Use:   "ipallow",
		Short: "Try IP allowlists for API keys before they go live",
		Long: `Try IP allowlists for API keys before they go live.

ipallow validates lists, says which addresses they let in and why, replays
request logs against them, and suggests lists from traffic.

The exit status is 0 for served or valid, 1 for denied or invalid, and 2 for
wrong usage or files that cannot be read.`,
		Example: `  ipallow validate lists.json
  ipallow check --lists lists.json --key ipk_live_1 203.0.113.5
  ipallow audit --lists lists.json access.log.gz`,
		Version:       version(),
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w\nsee \"%s --help\"", err, cmd.CommandPath()))
	})
	for _, command := range commands {
		root.AddCommand(command())
	}
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	err := root.ExecuteContext(ctx)
	var code result
	var wrong usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintln(errOut, "ipallow:", err)
	// Before a command has started, all errors are of usage; a missing flag
	// is found a moment later, and cobra has no type for it.
	if errors.As(err, &wrong) || !started || strings.HasPrefix(err.Error(), "required flag(s)") {
		return exitUsage
	}
	return exitDenied
}

// version is that of the module, or of the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Version == "(devel)" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return info.Main.Version
}
