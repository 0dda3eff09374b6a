// Package fleetconf makes the set-up of a fleet in which no gateway can harm
// another one: the configuration of the NATS servers, and a key for each node.
//
// # The accounts
//
// NATS checks the subject of a request, and neither the reply subject that comes
// with it nor the subject to which a consumer has its messages delivered. Both are
// published by the server, in the account of the request. So in an account that
// has the bucket of keys, whoever may ask for anything can have the server write
// there. What holds is the border of an account:
//
//	ipallow-management       JetStream: the keys, the usage records, the reports
//	ipallow-gateway-NAME     two a gateway, without JetStream
//	ipallow-records-NAME
//
// A gateway's first account imports four services, one subject each, to move and to
// pull from two consumers of the bucket of keys that are its own; the second one two
// more, where its usage records and its report go. A reply comes back into the account
// that asked.
//
// They are two because the server holds what is asked of a consumer until that has
// been answered, in memory and without a bound, and an account has one bound on the
// length of messages: requests have 1 KiB, and records 80.
package fleetconf

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
)

// A Settings says what a fleet's NATS is.
type Settings struct {
	Prefix  string   `json:"prefix"`
	Servers []string `json:"servers"`   // HOST:PORT, one or an odd number
	Store   string   `json:"store_dir"` // of JetStream, on each server

	// PEM files on the NATS servers; empty: no TLS. With a CA, clients must have a
	// certificate of it.
	TLSCert string `json:"tls_cert,omitempty"`
	TLSKey  string `json:"tls_key,omitempty"`
	TLSCA   string `json:"tls_ca,omitempty"`
}

// A Fleet is what the file fleet.json has. Its directory holds the keys too.
type Fleet struct {
	Dir string `json:"-"`
	Settings
	Management string            `json:"management"`     // public key
	Gateways   map[string]string `json:"gateways"`       // name to public key
	Records    map[string]string `json:"records"`        // name to the public one of fleet.RecordsKey
	Routes     string            `json:"route_password"` // between the servers of a cluster
}

const (
	stateFile   = "fleet.json"
	accountFile = "accounts.conf"

	// routePorts is how far a server's port for the others is from that for
	// clients: 4222 and 6222 are NATS's own defaults.
	routePorts = 2000
)

// ErrNoFleet says that a directory holds no fleet.
var ErrNoFleet = errors.New("there is no fleet.json; make the fleet with \"ipallowd fleet init\"")

// Open reads the fleet in a directory.
func Open(dir string) (*Fleet, error) {
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoFleet)
	}
	if err != nil {
		return nil, err
	}
	f := &Fleet{Dir: dir}
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, stateFile), err)
	}
	if f.Gateways == nil {
		f.Gateways = map[string]string{}
	}
	if f.Records == nil {
		f.Records = map[string]string{}
	}
	return f, f.validate()
}

// Init makes a fleet in a directory, or opens the one that is there and changes
// the settings that are not empty. Keys that exist stay as they are.
func Init(dir string, s Settings, gateways []string) (*Fleet, error) {
	f, err := Open(dir)
	switch {
	case errors.Is(err, ErrNoFleet):
		f = &Fleet{Dir: dir, Gateways: map[string]string{}, Records: map[string]string{}, Settings: Settings{
			Prefix: cmp.Or(s.Prefix, fleet.DefaultPrefix), Servers: []string{"127.0.0.1"},
		}}
	case err != nil:
		return nil, err
	case s.Prefix != "" && s.Prefix != f.Prefix:
		return nil, fmt.Errorf("--nats-prefix: the fleet in %s has the prefix %q; use another directory", dir, f.Prefix)
	}
	if len(s.Servers) > 0 {
		f.Servers = s.Servers
	}
	f.Store = cmp.Or(s.Store, f.Store)
	f.TLSCert, f.TLSKey, f.TLSCA = cmp.Or(s.TLSCert, f.TLSCert), cmp.Or(s.TLSKey, f.TLSKey), cmp.Or(s.TLSCA, f.TLSCA)
	for i, server := range f.Servers {
		if host, port, err := net.SplitHostPort(server); err != nil || host == "" || port == "" {
			f.Servers[i] = net.JoinHostPort(strings.Trim(server, "[]"), "4222")
		}
	}
	return f, f.Add(gateways...)
}

// Add adds gateways, and writes everything.
func (f *Fleet) Add(names ...string) error {
	for _, name := range names {
		if !fleet.ValidGatewayName(name) {
			return fmt.Errorf("the gateway's name %.80q: %w", name, fleet.ErrGatewayName)
		}
	}
	if err := f.validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(f.Dir, "gateways"), 0o700); err != nil {
		return err
	}
	if f.Routes == "" {
		b := make([]byte, 16)
		rand.Read(b) // never fails
		f.Routes = hex.EncodeToString(b)
	}
	var err error
	if f.Management, err = makeKey(f.ManagementKey(), "", f.Management); err != nil {
		return err
	}
	for _, name := range names {
		if f.Gateways[name], err = makeKey(f.GatewayKey(name), name, f.Gateways[name]); err != nil {
			return err
		}
	}
	for _, name := range f.Names() {
		if f.Records[name], err = recordsKey(f.GatewayKey(name), f.Records[name]); err != nil {
			return err
		}
	}
	return f.write()
}

// Remove removes gateways with their keys, and writes everything.
func (f *Fleet) Remove(names ...string) error {
	for _, name := range names {
		if f.Gateways[name] == "" {
			return fmt.Errorf("the fleet in %s has no gateway %q; it has %s", f.Dir, name, strings.Join(f.Names(), ", "))
		}
	}
	for _, name := range names {
		delete(f.Gateways, name)
		delete(f.Records, name)
		if err := os.Remove(f.GatewayKey(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.write()
}

// Names returns the gateways' names in order.
func (f *Fleet) Names() []string {
	names := make([]string, 0, len(f.Gateways))
	for name := range f.Gateways {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ManagementKey is the path of the management's key.
func (f *Fleet) ManagementKey() string { return filepath.Join(f.Dir, "management.nk") }

// GatewayKey is the path of a gateway's key.
func (f *Fleet) GatewayKey(name string) string { return filepath.Join(f.Dir, "gateways", name+".nk") }

// ServerConfig is the path of a server's configuration; they count from 1.
func (f *Fleet) ServerConfig(i int) string {
	return filepath.Join(f.Dir, fmt.Sprintf("nats-%d.conf", i))
}

// AccountConfig is the path of what all servers have in common.
func (f *Fleet) AccountConfig() string { return filepath.Join(f.Dir, accountFile) }

// URLs are where clients find the servers.
func (f *Fleet) URLs() string {
	scheme := "nats://"
	if f.TLSCert != "" {
		scheme = "tls://"
	}
	return scheme + strings.Join(f.Servers, ","+scheme)
}

// validate returns every fault, with the flags to correct.
func (f *Fleet) validate() error {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	link := fleet.Config{URLs: []string{"nats://localhost"}, Prefix: f.Prefix, Replicas: 1}
	if err := link.Validate(); err != nil {
		faults = append(faults, err)
	}
	if n := len(f.Servers); n != 1 && n != 3 && n != 5 {
		add("--servers: %d servers: want 1, or 3 or 5 that form a cluster", n)
	}
	seen := make(map[string]bool)
	for _, server := range f.Servers {
		host, port, err := net.SplitHostPort(server)
		n, numErr := strconv.ParseUint(port, 10, 16)
		if err != nil || numErr != nil || n == 0 || n+routePorts > 65535 || !plainHost(host) {
			add("--servers: %.80q: want HOST or HOST:PORT, with a port up to %d", server, 65535-routePorts)
		}
		if seen[server] {
			add("--servers: %s is named twice", server)
		}
		seen[server] = true
	}
	if (f.TLSCert == "") != (f.TLSKey == "") || f.TLSCA != "" && f.TLSCert == "" {
		add("--tls-cert and --tls-key go together, and --tls-ca with them")
	}
	for name, key := range f.Records {
		if f.Gateways[name] == "" || !nkeys.IsValidPublicUserKey(key) {
			add("%s: the records' key of the gateway %.80q is no public key, or there is no such gateway", stateFile, name)
		}
	}
	for name, key := range f.Gateways {
		if !fleet.ValidGatewayName(name) || !nkeys.IsValidPublicUserKey(key) {
			add("%s: the gateway %.80q has no name or public key that can be used", stateFile, name)
		}
	}
	return errors.Join(faults...)
}

// plainHost reports whether the text is a host's name or address, which can stand
// in a configuration as it is.
func plainHost(host string) bool {
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") == ""
}

// makeKey returns the public key of the file's key. If there is no file and none
// was made before, it makes one.
func makeKey(file, gateway, public string) (string, error) {
	text, err := os.ReadFile(file)
	switch {
	case err == nil:
		pair, err := nkeys.ParseDecoratedNKey(text)
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		own, err := pair.PublicKey()
		if err == nil && public != "" && own != public {
			err = fmt.Errorf("%s is not the key that the fleet was made with (%s): put that one back, or delete the line in %s to take this one", file, public, stateFile)
		}
		return own, err
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	case public != "":
		return public, nil // it was moved to its node
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", err
	}
	seed, err := pair.Seed()
	if err != nil {
		return "", err
	}
	if err := writeFile(file, fleet.KeyFile(gateway, string(seed))); err != nil {
		return "", err
	}
	return pair.PublicKey()
}

// recordsKey returns the public key of the second account of a gateway. It is known
// when its key file has been there once.
func recordsKey(file, public string) (string, error) {
	pair, err := fleet.RecordsKey(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && public != "":
		return public, nil // it was moved to its node
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s is needed once more, since it was made by an earlier version: put it back, or remove the gateway and add it again", file)
	case err != nil:
		return "", err
	}
	return pair.PublicKey()
}

// write writes fleet.json and the configurations.
func (f *Fleet) write() error {
	state, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(f.Dir, stateFile), append(state, '\n')); err != nil {
		return err
	}
	if err := writeFile(f.AccountConfig(), f.accounts()); err != nil {
		return err
	}
	for i := range f.Servers {
		if err := writeFile(f.ServerConfig(i+1), f.server(i)); err != nil {
			return err
		}
	}
	return nil
}

// writeFile replaces a file in one step. Only its owner may read it.
func writeFile(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return os.Chmod(path, 0o600)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // its mode is 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
