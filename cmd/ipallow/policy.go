package main

import (
	"github.com/ipallow/ipallow"
	"github.com/spf13/pflag"
)

// policyFlags adds the limits of a policy to a command's flags.
func policyFlags(fs *pflag.FlagSet) *ipallow.Policy {
	p := ipallow.DefaultPolicy()
	fs.IntVar(&p.MaxEntries, "max-entries", p.MaxEntries, "maximum number of `entries` in a list")
	fs.IntVar(&p.MinBits4, "min-bits4", p.MinBits4, "shortest `length` of an IPv4 network")
	fs.IntVar(&p.MinBits6, "min-bits6", p.MinBits6, "shortest `length` of an IPv6 network")
	fs.IntVar(&p.MaxLabel, "max-label", p.MaxLabel, "maximum number of `characters` in a label")
	fs.BoolVar(&p.AllowNonPublic, "allow-non-public", p.AllowNonPublic, "accept private, loopback and other addresses that are not public")
	return &p
}
