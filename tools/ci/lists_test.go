package ci

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A module that was added or moved is not left out of what the hosted workflow looks at.
func TestWorkflowNamesEveryModule(t *testing.T) {
	t.Parallel()
	edit := exec.Command("go", "work", "edit", "-json", "../../go.work")
	out, err := edit.Output()
	require.NoError(t, err)
	var work struct{ Use []struct{ DiskPath string } }
	require.NoError(t, json.Unmarshal(out, &work))
	var modules []string
	for _, u := range work.Use {
		modules = append(modules, strings.TrimPrefix(u.DiskPath, "./"))
	}
	require.GreaterOrEqual(t, len(modules), 5)

	matrix := regexp.MustCompile(`module: \[(.*)\]`).FindStringSubmatch(readFile(t, "../../.github/workflows/ci.yml"))
	require.NotNil(t, matrix, "the job that lints has a list of modules")
	require.ElementsMatch(t, modules, strings.Split(matrix[1], ", "))
}

// Actions run a step without pipefail unless it names its shell, and the status of a pipe
// is then that of its last command, which is tee or the like and never fails.
func TestWorkflowPipesCanFail(t *testing.T) {
	t.Parallel()
	steps := regexp.MustCompile(`(?m)^      - `).Split(readFile(t, "../../.github/workflows/ci.yml"), -1)
	require.Greater(t, len(steps), 5)
	for _, step := range steps {
		if strings.Contains(step, " | ") {
			require.Contains(t, step, "shell: bash", "%s", step)
		}
	}
}

// Every script stops at the first command that fails.
func TestScriptsStopAtFailures(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("git", "-C", "../..", "ls-files", ".ci").Output()
	require.NoError(t, err)
	files := strings.Fields(string(out))
	require.GreaterOrEqual(t, len(files), 6)
	for _, file := range files {
		text := readFile(t, "../../"+file)
		if strings.HasPrefix(text, "#!/bin/sh") {
			require.Contains(t, text, "\nset -eu\n", file)
		} else {
			require.Contains(t, text, "\nset -euo pipefail\n", file)
		}
	}
}
