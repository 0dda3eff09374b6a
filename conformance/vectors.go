package conformance

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
)

//go:embed entries.json lists.json verdicts.json sequences.json schema.json
var files embed.FS

// Files returns the published files: the four files of cases and
// schema.json, the JSON Schema (draft 2020-12) of the files and the lines.
func Files() fs.FS { return files }

// fileNames are the files of cases in the order in which they are asked.
var fileNames = []struct {
	name string
	kind Kind
}{
	{"entries", KindEntry},
	{"lists", KindList},
	{"verdicts", KindVerdict},
	{"sequences", KindSequence},
}

// Vectors are all cases, in the order of the files.
type Vectors struct {
	Cases []Case
}

// A Case is a question with the answer that is wanted and the reason why the
// case is there.
type Case struct {
	File     string // entries, lists, verdicts or sequences
	Name     string // unique among all cases
	Reason   string
	Question Question
	Want     Want
}

// Load reads the cases, which are part of the package. An error means that
// the files were damaged when the program was built.
func Load() (Vectors, error) {
	var v Vectors
	for _, f := range fileNames {
		if err := v.load(f.name, f.kind); err != nil {
			return Vectors{}, fmt.Errorf("conformance: %s.json: %w", f.name, err)
		}
	}
	return v, nil
}

func (v *Vectors) load(name string, kind Kind) error {
	data, err := files.ReadFile(name + ".json")
	if err != nil {
		return err
	}
	var file struct {
		Schema  string                       `json:"$schema"`
		Version int                          `json:"version"`
		File    string                       `json:"file"`
		Cases   []map[string]json.RawMessage `json:"cases"`
	}
	if err := decode(data, &file); err != nil {
		return err
	}
	if file.Version != Version || file.File != name {
		return fmt.Errorf("it is version %d of %q", file.Version, file.File)
	}
	for i, members := range file.Cases {
		c, err := newCase(members, kind)
		if err != nil {
			return fmt.Errorf("case %d: %w", i, err)
		}
		c.File = name
		v.Cases = append(v.Cases, c)
	}
	return nil
}

// newCase parts the question from what stands beside it.
func newCase(members map[string]json.RawMessage, kind Kind) (Case, error) {
	c := Case{Question: Question{Policy: DefaultPolicy()}}
	for name, v := range map[string]any{"name": &c.Name, "reason": &c.Reason, "want": &c.Want} {
		if err := decode(members[name], v); err != nil {
			return c, fmt.Errorf("%s: %w", name, err)
		}
		delete(members, name)
	}
	rest, err := json.Marshal(members)
	if err != nil {
		return c, err
	}
	if err := decode(rest, &c.Question); err != nil {
		return c, err
	}
	c.Question.Version, c.Question.ID, c.Question.Kind = Version, c.Name, kind
	return c, c.Question.validate()
}
