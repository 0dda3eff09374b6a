package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/fleetconf"
)

func newFleetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Make the NATS configuration of a fleet, and decide whose keys it has",
		Long: `Make the NATS configuration and the keys of a fleet in which no gateway can
harm another one.

"ipallowd serve --nats URL" needs none of this: it works with any NATS server
with JetStream. But there, whoever may ask NATS for anything in the account can
change keys and lists on every gateway. With the configuration that this command
makes, each gateway has an account of its own: one that was taken over can refuse
its own requests and invent its own usage records, and nothing else.

It needs nats-server 2.14 or later.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newFleetInitCommand(), newFleetAddCommand(), newFleetRemoveCommand(), newFleetAdoptCommand())
	return cmd
}

func newFleetInitCommand() *cobra.Command {
	var s fleetconf.Settings
	var gateways []string
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Make a fleet in a directory, and say what to do next",
		Long: `Make a fleet in a directory, and say what to do next.

It writes the configuration of the NATS servers and a key for the management
node and for each gateway, with mode 0600. DIR itself is a secret: keep it where
you keep others.

Do it again as often as you like: keys that exist stay as they are, gateways are
added, and settings that are given are changed. "ipallowd fleet add-gateway" and
"remove-gateway" do the rest.`,
		Example: `  ipallowd fleet init fleet --gateways gate-1,gate-2
  ipallowd fleet init fleet --gateways gate-1,gate-2 --servers 10.20.0.5,10.20.0.6,10.20.0.7
  ipallowd fleet init fleet --servers nats.example.com --tls-cert /etc/nats/cert.pem --tls-key /etc/nats/key.pem`,
		Args:    directory(1),
		PreRunE: environment,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := fleetconf.Init(args[0], s, gateways)
			if err != nil {
				return usageError{err}
			}
			sayAll(cmd.OutOrStdout(), f)
			return nil
		},
	}
	f := cmd.Flags()
	f.Var((*list)(&gateways), "gateways", "`names` of the gateways, such as gate-1,gate-2")
	f.Var((*list)(&s.Servers), "servers", "`hosts` of the NATS servers, one, or three or five for a cluster; with :PORT if it is not 4222, and 2000 above it for the cluster (127.0.0.1)")
	f.StringVar(&s.Prefix, "nats-prefix", "", "`name` before the names of the fleet's buckets, stream and accounts (ipallow)")
	f.StringVar(&s.Store, "store-dir", "", "`directory` for the streams on the NATS servers (/var/lib/nats; in DIR if they are on 127.0.0.1)")
	f.StringVar(&s.TLSCert, "tls-cert", "", "PEM `file` of the servers' certificate, as they find it")
	f.StringVar(&s.TLSKey, "tls-key", "", "PEM `file` of its key")
	f.StringVar(&s.TLSCA, "tls-ca", "", "PEM `file` of who signs the clients' certificates; they are demanded then")
	return cmd
}

// A list is a flag of words with commas, spaces or line ends between them: a list
// that a script made of lines would lose all but the first as CSV.
type list []string

func (l *list) Type() string   { return "list" }
func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(text string) error {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	if len(words) == 0 {
		return errors.New("the list is empty: want names with commas between them, or leave the flag out")
	}
	*l = append(*l, words...)
	return nil
}

func newFleetAddCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "add-gateway DIR NAME...",
		Short:   "Add gateways to a fleet",
		Example: "  ipallowd fleet add-gateway fleet gate-3",
		Args:    directory(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := fleetconf.Open(args[0])
			if err == nil {
				err = f.Add(args[1:]...)
			}
			if err != nil {
				return usageError{err}
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "The fleet in %s has %s now.\n\n", f.Dir, strings.Join(args[1:], ", "))
			sayReload(out, f)
			sayGateways(out, f, 2, args[1:])
			return nil
		},
	}
}

func newFleetRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove-gateway DIR NAME...",
		Short: "Remove gateways from a fleet, with their keys",
		Long: `Remove gateways from a fleet, with their keys.

When the NATS servers have the new configuration they end the gateway's
connections and let it in no more. Until then nothing changes. What the gateway
knows it keeps: change the secrets of keys that it has seen in requests.`,
		Example: "  ipallowd fleet remove-gateway fleet gate-3",
		Args:    directory(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := fleetconf.Open(args[0])
			if err == nil {
				err = f.Remove(args[1:]...)
			}
			if err != nil {
				return usageError{err}
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "The fleet in %s has %s no more.\n\n", f.Dir, strings.Join(args[1:], ", "))
			sayReload(out, f)
			return nil
		},
	}
}

// directory demands a directory and what follows it.
func directory(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n || n == 1 && len(args) > 1 {
			return usageError{fmt.Errorf("want %s\nsee \"%s --help\"", cmd.UseLine(), cmd.CommandPath())}
		}
		return nil
	}
}

// sayAll says what to do with a fleet.
func sayAll(out io.Writer, f *fleetconf.Fleet) {
	fmt.Fprintf(out, "The fleet is in %s. What to do next:\n\n1. Start NATS.\n\n", f.Dir)
	for i, server := range f.Servers {
		if !f.Local() {
			host, _, _ := net.SplitHostPort(server)
			fmt.Fprintf(out, "     scp %s %s %s:/etc/nats/   # then, on %[3]s:\n", f.ServerConfig(i+1), f.AccountConfig(), host)
			fmt.Fprintf(out, "     nats-server -c /etc/nats/nats-%d.conf\n", i+1)
			continue
		}
		fmt.Fprintf(out, "     nats-server -c %s\n", f.ServerConfig(i+1))
	}
	fmt.Fprintf(out, "\n2. Start the management node, with its key.\n\n     ipallowd serve --nats-nkey %s%s", f.ManagementKey(), clientFlags(f))
	if n := len(f.Servers); n > 1 {
		fmt.Fprintf(out, " --nats-replicas %d", min(n, 3))
	}
	fmt.Fprint(out, "\n\n")
	if names := f.Names(); len(names) > 0 {
		sayGateways(out, f, 3, names)
	} else {
		fmt.Fprintf(out, "3. Add gateways.\n\n     ipallowd fleet add-gateway %s gate-1\n\n", f.Dir)
	}
	if f.TLSCert == "" && !f.Local() {
		fmt.Fprintln(out, "Without TLS, whoever is in the network between the nodes can read lists and hashes of keys, and change them\n"+
			"on their way. Get the servers a certificate and repeat this with --tls-cert and --tls-key.")
	}
}

// sayGateways says how gateways are started.
func sayGateways(out io.Writer, f *fleetconf.Fleet, step int, names []string) {
	if f.Local() {
		fmt.Fprintf(out, "%d. Start the gateways, each with its key.\n\n", step)
		for i, name := range names {
			fmt.Fprintf(out, "     ipallowd gateway --nats-nkey %s%s --data %s-data --listen 127.0.0.1:%d --status-listen 127.0.0.1:%d\n",
				f.GatewayKey(name), clientFlags(f), name, 8090+10*i, 8092+10*i)
		}
	} else {
		fmt.Fprintf(out, "%d. Bring each gateway its key, delete it here, and start the gateway there.\n\n", step)
		for _, name := range names {
			fmt.Fprintf(out, "     scp %s %s:/etc/ipallow/ && rm %[1]s   # then, on %[2]s:\n", f.GatewayKey(name), name)
			fmt.Fprintf(out, "     ipallowd gateway --nats-nkey /etc/ipallow/%s.nk%s\n", name, clientFlags(f))
		}
	}
	fmt.Fprintln(out)
}

// sayReload says how servers that run get the new configuration.
func sayReload(out io.Writer, f *fleetconf.Fleet) {
	fmt.Fprint(out, "1. Give the NATS servers the new configuration. Other nodes stay connected. The imports of a new account\n"+
		"   work from the second reload on.\n\n")
	for _, server := range f.Servers {
		if !f.Local() {
			host, _, _ := net.SplitHostPort(server)
			fmt.Fprintf(out, "     scp %s %s:/etc/nats/   # then, on %[2]s:\n", f.AccountConfig(), host)
		}
		fmt.Fprintln(out, "     nats-server --signal reload; sleep 1; nats-server --signal reload")
		if f.Local() {
			break
		}
	}
	fmt.Fprintln(out)
}

// clientFlags returns the flags by which a node finds the servers.
func clientFlags(f *fleetconf.Fleet) string {
	text := " --nats " + f.URLs()
	if f.Prefix != fleet.DefaultPrefix {
		text += " --nats-prefix " + f.Prefix
	}
	if f.TLSCert != "" {
		text += " --nats-ca CA.pem"
	}
	if f.TLSCA != "" {
		text += " --nats-cert CERT.pem --nats-key KEY.pem"
	}
	return text
}
