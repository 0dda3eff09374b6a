package gen

import "strings"

// Traps are texts that other implementations read wrongly, or that people
// type. Few of them are entries.
var Traps = []string{
	"fe80::1%eth0/64", // netip.ParseAddr takes eth0/64 for the zone
	"fe80::1%eth0", "fe80::1%", "fe80::%0/64", "fe80::1%eth0%eth1", "203.0.113.5%eth0",
	"::ffff:203.0.113.5%eth0", "fe80::1%eth 0", "fe80::1%eth0/", "fe80::1%eth0/129",
	"10.0.0.0/032", "10.0.0.0/+8", "10.0.0.0/-8", "10.0.0.0/08", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/8/8",
	"10.0.0.0/ 8", "10.0.0.0/8 ", " 10.0.0.0/8", "10.0.0.0/0x8", "10.0.0.0/256", "10.0.0.0/1000", "10.0.0.0/٨",
	"::ffff:0:0/96", // looks narrower than /33 and is all of IPv4
	"::ffff:0:0/95", "::ffff:203.0.113.5", "::ffff:203.0.113.5/24", "::ffff:203.0.113.0/120",
	"::ffff:203.0.113.5/120", "::FFFF:CB00:7105", "::ffff:203.0.113.05", "::203.0.113.5", "64:ff9b::203.0.113.5",
	"010.0.0.1", "0x0a.0.0.1", "10.1", "10", "0", "167772161", "1.2.3.4.5", "1..2.3", "256.0.0.1", "1.2.3.-4",
	"203.0.113.0/255.255.255.0", "203.0.113.0 255.255.255.0", "203.0.113.0/0.0.0.255",
	"203.0.113.5:443", "[2001:db8::1]", "[2001:db8::1]:443", "[2001:db8::]/48", "203.0.113.0/24:443",
	"203.0.113.*", "203.0.*.*", "203.0.x.x", "203.0.113.0-203.0.113.255", "203.0.113.0-255", "203.0.113.1-203.0.113.9",
	"203.0.113.5,203.0.113.6", "203.0.113.5\n", "203.0.113.5\t", "203.0.113.5\x00", "203.0.113.5\u200b", "２０３.0.113.5",
	"localhost", "example.com", "any", "*", "", "/", "/24", ":", "::", "::/0", "0.0.0.0/0", ":::", "::1::",
	"2001:db8:::1", "2001:db8::12345", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7::", "2001:db8::g",
	"2001:db8::1/48", "2001:DB8::/48", "2001:0db8:0000:0000:0000:0000:0000:0001", "203.0.113.5/24",
	"\xff", "203.0.113.5\xff", strings.Repeat("1", 65), "fe80::1%" + strings.Repeat("z", 57), "fe80::1%" + strings.Repeat("z", 56),
}

// Text draws an entry's text: a valid one, one with a letter changed, added
// or lost, or a trap, changed or not.
func Text(s Source) string {
	var text string
	if s.IntN(3) == 0 {
		text = pick(s, Traps...)
	} else {
		p := Prefix(s)
		if s.IntN(4) == 0 {
			p = Mapped(p)
		}
		text = p.String()
		if s.IntN(3) == 0 {
			text = p.Addr().String()
		}
		if s.IntN(6) == 0 {
			text = strings.ToUpper(text)
		}
	}
	for range s.IntN(3) {
		text = mutate(s, text)
	}
	return text
}

const letters = "0123456789abcdefABCDEF.:/%-+ *[]x,\x00\xff"

func mutate(s Source, text string) string {
	i := s.IntN(len(text) + 1)
	l := letters[s.IntN(len(letters))]
	switch {
	case s.IntN(3) == 0 || i == len(text):
		return text[:i] + string([]byte{l}) + text[i:]
	case s.IntN(2) == 0:
		return text[:i] + text[i+1:]
	}
	return text[:i] + string([]byte{l}) + text[i+1:]
}
