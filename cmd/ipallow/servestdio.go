package main

import (
	"github.com/ipallow/ipallow/cmd/internal/conform"
	"github.com/ipallow/ipallow/conformance"
	"github.com/spf13/cobra"
)

func newServeStdioCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve-stdio",
		Short: "Answer conformance questions on standard input and output",
		Long: `Answer conformance questions, a JSON line each, on standard input and output.

It is the project's own implementation of the protocol that "ipallow
conformance" speaks, to try that command with, or to compare another program's
answers with. The README of the folder conformance describes the lines.`,
		Example: `  echo '{"version":1,"id":"x","kind":"entry","entry":"203.0.113.5/24"}' | ipallow serve-stdio
  ipallow conformance --exec ipallow -- serve-stdio`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return conform.Serve(cmd.InOrStdin(), cmd.OutOrStdout(), conformance.Engine())
		},
	}
}
