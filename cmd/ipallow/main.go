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

	"github.com/ipallow/ipallow/cmd/internal/alike"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ipallow/ipallow/cmd/internal/visible"
)

// The statuses that the program ends with.
const (
	exitOK          = 0   // served, valid
	exitDenied      = 1   // denied, invalid, or a task that failed
	exitUsage       = 2   // wrong flags or arguments, files that cannot be read
	exitInterrupted = 130 // by Ctrl-C, as shells count it: 128 and the signal's number
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
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

To begin without locking anybody out: "suggest" a list from a log of the key's
traffic, label its entries, "audit" it against another log, and then enforce it.
Where addresses change, list the provider's network. Keep a second key for
emergencies, and watch the blocked requests after each change.

The exit status is 0 for served or valid, 1 for denied or invalid, 2 for wrong
usage, files that cannot be read and files that hold nothing, and 130 after
Ctrl-C.`,
		Example: `  ipallow validate lists.json
  ipallow check --lists lists.json --key ipk_live_1 203.0.113.5
  ipallow audit --lists lists.json access.log.gz`,
		Version: version(),
		Args:    noSuchCommand,

		SuggestionsMinimumDistance: 2,

		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if len(args) > 0 && !cmd.HasParent() && !strings.HasPrefix(args[0], "-") {
			return usage(seeHelp(cmd, noSuchCommand(cmd, args[:1]))) // that is why the flag is unknown
		}
		var invalid *pflag.InvalidValueError
		if errors.As(err, &invalid) { // its own text quotes strconv
			f := invalid.GetFlag()
			err = fmt.Errorf("--%s cannot be %s: it takes a value of the type %s", f.Name, quote(invalid.GetValue()), f.Value.Type())
		}
		return usage(seeHelp(cmd, err))
	})
	for _, command := range commands {
		root.AddCommand(command())
	}
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	root.InitDefaultCompletionCmd(args...)
	for _, c := range root.Commands() {
		if c.Name() == "completion" { // cobra's own shows help for a shell that it does not know, and ends well
			c.Args = cobra.NoArgs
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	cmd, err := root.ExecuteContextC(ctx)
	var code result
	var wrong usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		fmt.Fprintln(errOut, "ipallow: interrupted")
		return exitInterrupted
	}
	// Before a command has started, all errors are of usage; a missing flag
	// is found a moment later, and cobra has no type for it.
	flag := strings.HasPrefix(err.Error(), "required flag(s)")
	if flag || !started && !errors.As(err, &wrong) {
		err = usage(seeHelp(cmd, err))
	}
	fmt.Fprintln(visible.Writer(errOut), "ipallow:", err)
	if errors.As(err, &wrong) || !started {
		return exitUsage
	}
	return exitDenied
}

// noSuchCommand is an error for any argument, which is the name of a command
// that there is not.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("there is no command %s%s", quote(args[0]), alike.DidYouMean(cmd.SuggestionsFor(args[0])))
}

// seeHelp adds where the right usage is described.
func seeHelp(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w\nsee \"%s --help\"", err, cmd.CommandPath())
}

// atLeastOne demands an argument of the kind that what names.
func atLeastOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("name %s", what)
		}
		return nil
	}
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
