package main

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
)

// A mutation is one fault to make.
type mutation struct {
	list    string // the name of its list
	at      string // "clientip.txt:12"
	text    string // what goes wrong, in one sentence
	pkg     string // the directory of the tests' package, from the root of the tree
	files   string // the directory of the changed files; pkg where the list has none
	tests   []string
	edits   []edit
	tags    string
	race    bool
	timeout time.Duration // 0 for the default
	// refused says that the compiler is what must see it.
	refused bool
}

// An edit replaces whole lines of a file, which must be in it exactly once.
type edit struct {
	file          string // relative to files
	at            string
	before, after string
}

// variant is what a test binary is built of.
func (m *mutation) variant() variant { return variant{m.pkg, m.tags, m.race} }

type variant struct {
	pkg, tags string
	race      bool
}

var testName = regexp.MustCompile(`^(Test|Fuzz|Example)\w*$`)

// parseList reads a list. What stands before its first mutation holds for all of
// them. lists/README.md has the format.
func parseList(filename, src string) ([]*mutation, error) {
	p := listParser{name: listName(filename), base: path.Base(filename)}
	p.common.list = p.name
	for i, line := range strings.Split(src, "\n") {
		p.line = i + 1
		p.read(line)
	}
	p.finish()
	return p.done, errors.Join(p.faults...)
}

type listParser struct {
	name, base string
	line       int
	common     mutation
	file       string    // the file that hunks are for
	commonFile string    // the one before the first mutation
	cur        *mutation // nil before the first mutation
	hunk       *edit     // nil outside a hunk
	changed    bool      // the hunk has a - or a +
	done       []*mutation
	faults     []error
}

func (p *listParser) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf("%s:%d: %s", p.base, p.line, fmt.Sprintf(format, args...)))
}

func (p *listParser) read(line string) {
	switch {
	case line == "" || line[0] == '#':
		p.endHunk()
	case line == "@@": // the next hunk of the same file
		p.endHunk()
	case line[0] == ' ' || line[0] == '-' || line[0] == '+':
		p.hunkLine(line[0], line[1:]+"\n")
	default:
		p.endHunk()
		key, value, ok := strings.Cut(line, ":")
		if value = strings.TrimSpace(value); !ok || value == "" {
			p.fault("want \"key: value\", a comment (#) or a line of a change (' ', -, +): %q", line)
			return
		}
		p.set(key, value)
	}
}

func (p *listParser) hunkLine(kind byte, text string) {
	if p.cur == nil || p.file == "" {
		p.fault("a change needs \"mutation:\" and \"file:\" before it")
		return
	}
	if p.hunk == nil {
		p.hunk = &edit{file: p.file, at: fmt.Sprintf("%s:%d", p.base, p.line)}
	}
	if kind != '+' {
		p.hunk.before += text
	}
	if kind != '-' {
		p.hunk.after += text
	}
	p.changed = p.changed || kind != ' '
}

func (p *listParser) endHunk() {
	if p.hunk == nil {
		return
	}
	switch {
	case p.hunk.before == "":
		p.fault("the change has no line that is there now, so it has no place")
	case !p.changed || p.hunk.before == p.hunk.after:
		p.fault("the change changes nothing")
	}
	p.cur.edits = append(p.cur.edits, *p.hunk)
	p.hunk, p.changed = nil, false
}

func (p *listParser) set(key, value string) {
	if key == "mutation" {
		p.finish()
		m := p.common
		m.text, m.at = value, fmt.Sprintf("%s:%d", p.base, p.line)
		p.cur, p.file = &m, p.commonFile
		return
	}
	m := &p.common
	if p.cur != nil {
		m = p.cur
	}
	switch key {
	case "package":
		m.pkg = path.Clean(value)
	case "files":
		m.files = path.Clean(value)
	case "file":
		p.file = value
		if p.cur == nil {
			p.commonFile = value
		}
	case "tests":
		m.tests = strings.Fields(value)
		for _, name := range m.tests {
			if !testName.MatchString(name) {
				p.fault("%q is not the name of a test; write \"tests: TestA TestB\"", name)
			}
		}
	case "tags":
		m.tags = value
	case "race":
		m.race = value == "yes"
		p.want(key, value, "yes", "no")
	case "compiles":
		m.refused = value == "no"
		p.want(key, value, "yes", "no")
	case "timeout":
		d, err := time.ParseDuration(value)
		if m.timeout = d; err != nil || d <= 0 {
			p.fault("timeout %q: want a time such as 90s", value)
		}
	default:
		p.fault("unknown key %q", key)
	}
}

func (p *listParser) want(key, value string, choices ...string) {
	for _, c := range choices {
		if value == c {
			return
		}
	}
	p.fault("%s: %q: want %s", key, value, strings.Join(choices, " or "))
}

// finish ends the mutation that is being read.
func (p *listParser) finish() {
	p.endHunk()
	m := p.cur
	if m == nil {
		return
	}
	switch {
	case m.pkg == "":
		p.fault("%q has no package", m.text)
	case len(m.edits) == 0:
		p.fault("%q has no change", m.text)
	case len(m.tests) == 0 && !m.refused:
		p.fault("%q names no tests", m.text)
	}
	if m.files == "" {
		m.files = m.pkg
	}
	for _, other := range p.done {
		if other.text == m.text {
			p.fault("%q is in the list twice", m.text)
		}
	}
	p.done = append(p.done, m)
	p.cur = nil
}
