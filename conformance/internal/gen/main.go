// Command gen writes the conformance vectors: entries.json, lists.json,
// verdicts.json and sequences.json of the folder conformance.
//
// The cases are written by hand in this package, together with the answers
// that the specification asks for. Only the edges of networks are computed,
// by the arithmetic in edges.go. Nothing is taken from the engine, and the
// package imports nothing of the project, so that a fault of the engine
// cannot become an expectation here.
//
// Run "go generate" in the folder conformance. A test fails where the files
// differ from what this program writes.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

// version is that of the format, which README.md describes.
const version = 1

func main() {
	log.SetFlags(0)
	dir := flag.String("dir", ".", "the `folder` to write to")
	flag.Parse()
	for name, data := range files() {
		if err := os.WriteFile(filepath.Join(*dir, name), data, 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// files returns the contents of the four files by their names.
func files() map[string][]byte {
	return map[string][]byte{
		"entries.json":   lines("entries", entryCases()),
		"lists.json":     lines("lists", listCases()),
		"verdicts.json":  lines("verdicts", verdictCases()),
		"sequences.json": indented("sequences", sequenceCases()),
	}
}

// lines writes one case a line.
func lines[T any](file string, cases []T) []byte {
	var b bytes.Buffer
	b.WriteString(head(file))
	for i, c := range cases {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n    ")
		b.Write(marshal(c))
	}
	b.WriteString("\n  ]\n}\n")
	return b.Bytes()
}

// indented writes one member a line.
func indented[T any](file string, cases []T) []byte {
	var b bytes.Buffer
	b.WriteString(head(file))
	for i, c := range cases {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n    ")
		if err := json.Indent(&b, marshal(c), "    ", "  "); err != nil {
			log.Fatal(err)
		}
	}
	b.WriteString("\n  ]\n}\n")
	return b.Bytes()
}

func head(file string) string {
	return fmt.Sprintf("{\n  \"$schema\": \"./schema.json\",\n  \"version\": %d,\n  \"file\": %q,\n  \"cases\": [", version, file)
}

// marshal writes v in ASCII, so that no editor or transport changes a
// character that a case is about.
func marshal(v any) []byte {
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		log.Fatal(err)
	}
	var b bytes.Buffer
	for _, r := range string(bytes.TrimSuffix(raw.Bytes(), []byte("\n"))) {
		switch {
		case r >= 0x10000:
			r -= 0x10000
			writeEscape(&b, 0xd800+r>>10)
			writeEscape(&b, 0xdc00+r&0x3ff)
		case r >= 0x7f:
			writeEscape(&b, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

func writeEscape(b *bytes.Buffer, unit rune) {
	const digits = "0123456789abcdef"
	b.WriteString(`\u`)
	for shift := 12; shift >= 0; shift -= 4 {
		b.WriteByte(digits[unit>>shift&15])
	}
}
