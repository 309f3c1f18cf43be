package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
	"labd/docs"
)

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain CODE|SUBJECT",
		Short: "What a finding means, how labd knows, why it comes, and what to do",
		Long: `Prints the page of a finding: what it means, how labd knows it, what causes it and what to do. CODE is the code that each
finding ends with (nvme.not-ready). It needs neither a running labd nor root.

With a SUBJECT (storage/pve1/nas, or nas where only one is called so) it prints what is wrong with that subject now, with
evidence and remedies, and then the pages.`,
		Example:           "  labctl explain nvme.not-ready\n  labctl explain storage/pve1/nas",
		Args:              exactlyOne("finding's code, or subject"),
		ValidArgsFunction: a.complete(1, codeValues, subjectValues),
		RunE: func(cmd *cobra.Command, args []string) error {
			if page, ok := docs.Finding(args[0]); ok {
				return a.explainCode(args[0], page)
			}
			if !strings.Contains(args[0], "/") && strings.Contains(args[0], ".") && knownArea(args[0]) {
				return unknownCode(args[0])
			}
			return a.with(cmd.Context(), func(c *client) error { return a.explainSubject(cmd.Context(), c, args[0]) })
		},
	}
}

// knownArea reports whether the part of a code before its dot is that of some finding.
func knownArea(code string) bool {
	area, _, _ := strings.Cut(code, ".")
	return slices.ContainsFunc(docs.Codes(), func(c string) bool { return strings.HasPrefix(c, area+".") })
}

func unknownCode(code string) error {
	hint := "labctl explain <Tab>, or docs/findings, lists the codes"
	if like := nearest(code, docs.Codes()); like != "" {
		hint = "did you mean " + like + "?"
	}
	return &Error{apiv1.ErrorUsage, "there is no finding " + quoted(code), hint}
}

func (a *app) explainCode(code, page string) error {
	switch a.flags.output {
	case formatJSON:
		writeJSON(a.out, map[string]string{"code": code, "page": page})
	case formatYAML:
		return a.emitYAML(map[string]string{"code": code, "page": page})
	case formatName:
		a.raw(code)
	default:
		a.markdown(page)
	}
	return nil
}

// explainSubject prints the findings of a subject, and the pages of their codes.
func (a *app) explainSubject(ctx context.Context, c *client, name string) error {
	var report apiv1.Envelope[apiv1.Finding]
	if err := c.get(ctx, "/v1/findings?fresh=1", &report); err != nil {
		return err
	}
	subjects := subjectsCalled(name, report.Items)
	if len(subjects) > 1 {
		return usageError("%q may be any of %s: write it in full", name, strings.Join(subjects, ", "))
	}
	findings := slices.DeleteFunc(report.Items, func(f apiv1.Finding) bool { return !slices.Contains(subjects, f.Subject) })
	report.Items, report.Findings = findings, findings
	err := emit(a, report, func(f apiv1.Finding) string { return f.Code }, func(bool) {
		if len(findings) == 0 {
			a.printf("labd has no finding about %s. labctl status lists all findings.\n", name)
			return
		}
		a.explain(findings, true)
		var shown []string
		for _, f := range findings {
			if page, ok := docs.Finding(f.Code); ok && !slices.Contains(shown, f.Code) {
				a.printf("\n")
				a.markdown(page)
				shown = append(shown, f.Code)
			}
		}
	})
	return err
}

// subjectsCalled are the subjects of findings that name means: the one that is called so, or those whose last part is.
func subjectsCalled(name string, findings []apiv1.Finding) []string {
	var out []string
	for _, f := range findings {
		if f.Subject == name {
			return []string{name}
		}
		if strings.HasSuffix(f.Subject, "/"+name) && !slices.Contains(out, f.Subject) {
			out = append(out, f.Subject)
		}
	}
	return out
}
