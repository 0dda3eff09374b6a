package listfile_test

import (
	"fmt"
	"strings"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/listfile"
)

// A loader that opens no key by mistake: a file with a fault changes nothing.
func Example() {
	engine := ipallow.New(nil)
	load := func(name, text string) error {
		lists, err := listfile.Read(name, strings.NewReader(text), nil)
		if err != nil {
			return err
		}
		return engine.ReplaceFunc(func(add func(string, []ipallow.Entry)) error {
			for _, l := range lists {
				entries, err := engine.Policy().ParseEntries(l.Texts())
				if err != nil {
					return fmt.Errorf("%s: %w", l.Pos, err)
				}
				add(l.Key, entries)
			}
			return nil
		})
	}
	fmt.Println(load("lists.json", `{"keys": {"key-1": ["203.0.113.0/24"]}}`))
	fmt.Println(load("lists.json", `{"keys": {
		"key-1": ["203.0.113.0/24"],
		"key-1": []
	}}`))
	fmt.Println(load("lists.json", ``))
	_, ok := engine.Snapshot().Entries("key-1")
	fmt.Println("key-1 has its list:", ok)
	// Output:
	// <nil>
	// lists.json:3: the key "key-1" has a list already, at lists.json:2; give each key one list
	// lists.json: the file holds no list
	// key-1 has its list: true
}
