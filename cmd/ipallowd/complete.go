package main

import "github.com/spf13/cobra"

// completeValues has the shell offer the values of the flags that have few.
func completeValues(cmd *cobra.Command) {
	for flag, values := range map[string][]string{
		"log-format":       {"text", "json"},
		"log-level":        {"debug", "info", "warn", "error"},
		"client-ip-header": {"X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP"},
		"nats-replicas":    {"1", "3", "5"},
	} {
		if cmd.Flags().Lookup(flag) != nil {
			cobra.CheckErr(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
		}
	}
}
