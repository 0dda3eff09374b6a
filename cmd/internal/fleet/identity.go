package fleet

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// An Identity is how a node connects to NATS: who it says that it is, and how
// it knows the servers. The zero Identity is that of a node without a name on a
// connection without TLS.
type Identity struct {
	Creds string // file with a user's JWT and seed
	NKey  string // file with a user's seed, as KeyFile writes it

	User         string
	Password     string
	PasswordFile string // read at each connect, so that a new password needs no restart

	CA        string // PEM file of whom to believe which servers; empty: the system's
	Cert, Key string // PEM files of the client's certificate

	// Gateway is the name of a gateway that has an account of its own, as
	// "ipallowd fleet" makes them: it follows the keys with a consumer that the
	// management makes. Empty: it shares an account and makes its own.
	Gateway string

	// Records says that the connection of such a gateway is for its usage records
	// and reports, which have another account than its keys: see RecordsKey.
	Records bool
}

// validate returns every fault, with the flags to correct.
func (id *Identity) validate(urls []string) (faults []error) {
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	ways := 0
	for _, v := range []string{id.Creds, id.NKey, id.User} {
		if v != "" {
			ways++
		}
	}
	if ways > 1 {
		add("--nats-creds, --nats-nkey and --nats-user: give one of them")
	}
	if ways > 0 {
		for _, text := range urls {
			if u, err := url.Parse(text); err == nil && u.User != nil {
				add("--nats: %s has a user, and so has --nats-creds, --nats-nkey or --nats-user: give one of them", bare(u))
				break
			}
		}
	}
	if (id.Password != "" || id.PasswordFile != "") && id.User == "" {
		add("--nats-user: a password is given without a user's name")
	}
	if id.Password != "" && id.PasswordFile != "" {
		add("--nats-password-file and IPALLOWD_NATS_PASSWORD: give one of them")
	}
	if id.User != "" && id.Password == "" && id.PasswordFile == "" {
		add("--nats-user: give the password with --nats-password-file or in IPALLOWD_NATS_PASSWORD")
	}
	if id.PasswordFile != "" {
		if _, err := id.password(); err != nil {
			add("--nats-password-file: %w", err)
		}
	}
	if id.Creds != "" {
		if _, err := os.Stat(id.Creds); err != nil {
			add("--nats-creds: %w", err)
		}
	}
	if id.NKey != "" {
		if _, err := nats.NkeyOptionFromSeed(id.NKey); err != nil {
			add("--nats-nkey: %s: %w; want the key file that \"ipallowd fleet init\" wrote", id.NKey, err)
		}
	}
	if id.CA != "" {
		if err := readCA(id.CA); err != nil {
			add("--nats-ca: %w", err)
		}
	}
	if (id.Cert == "") != (id.Key == "") {
		add("--nats-cert and --nats-key go together")
	} else if id.Cert != "" {
		if _, err := tls.LoadX509KeyPair(id.Cert, id.Key); err != nil {
			add("--nats-cert, --nats-key: %w", err)
		}
	}
	return faults
}

func readCA(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return fmt.Errorf("%s has no certificate in PEM form", file)
	}
	return nil
}

// password returns the password of the moment.
func (id *Identity) password() (string, error) {
	if id.PasswordFile == "" {
		return id.Password, nil
	}
	text, err := os.ReadFile(id.PasswordFile)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", fmt.Errorf("%s is empty", id.PasswordFile)
	}
	return password, nil
}

// options returns the options of a connection.
func (id *Identity) options() (opts []nats.Option, err error) {
	switch {
	case id.Creds != "":
		opts = append(opts, nats.UserCredentials(id.Creds))
	case id.NKey != "":
		opt, err := nats.NkeyOptionFromSeed(id.NKey)
		if id.Gateway != "" && id.Records {
			opt, err = RecordsOption(id.NKey)
		}
		if err != nil {
			return nil, fmt.Errorf("--nats-nkey: %w", err)
		}
		opts = append(opts, opt)
	case id.User != "":
		who := *id
		opts = append(opts, nats.UserInfoHandler(func() (string, string) {
			password, _ := who.password() // or it is refused, which the log says
			return who.User, password
		}))
	}
	if id.CA != "" {
		opts = append(opts, nats.RootCAs(id.CA))
	}
	if id.Cert != "" {
		opts = append(opts, nats.ClientCert(id.Cert, id.Key))
	}
	return opts, nil
}

// jetStream returns the JetStream that the node sees: its own account's, or what
// the management's account lets it ask.
func (c *Config) jetStream(nc *nats.Conn) (jetstream.JetStream, error) {
	timeout, async := jetstream.WithDefaultTimeout(requestTimeout), jetstream.WithPublishAsyncTimeout(requestTimeout)
	if c.Gateway != "" {
		return jetstream.NewWithAPIPrefix(nc, APIPrefix(c.Prefix), timeout, async)
	}
	return jetstream.New(nc, timeout, async)
}

// APIPrefix is where a gateway with an account of its own finds JetStream's API.
// $JS.API would be the account's own JetStream, which it does not have.
func APIPrefix(prefix string) string { return prefix + ".api" }

// Names of gateways that have an account of their own: their subjects, accounts
// and consumers have them as they are.
var gatewayName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// ErrGatewayName says that a gateway with an account of its own cannot have the
// name.
var ErrGatewayName = errors.New("want 1 to 63 letters, digits, hyphens and underscores, a letter or digit first")

// ValidGatewayName reports whether a gateway with an account of its own can have
// the name.
func ValidGatewayName(name string) bool { return gatewayName.MatchString(name) }

// gatewayLine begins the line of a key file that says whose it is.
const gatewayLine = "# ipallow gateway: "

// KeyFile returns the content of a key file. The gateway is empty in that of the
// management.
func KeyFile(gateway, seed string) []byte {
	first := "# ipallow management\n"
	if gateway != "" {
		first = gatewayLine + gateway + "\n"
	}
	return []byte(first + "# Whoever has this file is this node to NATS. Keep it secret.\n" + seed + "\n")
}

// RecordsKey returns the key of a gateway's second account, which is made from that
// in its key file. A NATS account has one bound on the length of messages, and what
// a node asks for is far shorter than its usage records.
func RecordsKey(file string) (nkeys.KeyPair, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pair, err := nkeys.ParseDecoratedNKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte("ipallow usage records\x00"), seed...))
	return nkeys.FromRawSeed(nkeys.PrefixByteUser, sum[:])
}

// RecordsOption has a connection use RecordsKey.
func RecordsOption(file string) (nats.Option, error) {
	pair, err := RecordsKey(file)
	if err != nil {
		return nil, err
	}
	public, err := pair.PublicKey()
	return nats.Nkey(public, pair.Sign), err
}

// KeyFileGateway returns the name of the gateway whose key file it is; "" if the
// file does not say.
func KeyFileGateway(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), gatewayLine); ok {
			if !ValidGatewayName(name) {
				return "", fmt.Errorf("%s: the name %.80q: %w", file, name, ErrGatewayName)
			}
			return name, nil
		}
	}
	return "", nil
}
