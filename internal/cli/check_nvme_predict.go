package cli

import (
	"strings"

	apiv1 "labd/api/v1"
)

// printPredictions prints what another kernel would make of each drive.
func (a *app) printPredictions(report apiv1.Envelope[apiv1.NVMeItem], _ bool) {
	header := []string{"PCI", "MODEL", "SERIAL", "NOW", "KERNEL", "OUTCOME", "CONFIDENCE", "REASON"}
	rows := make([][]string, 0, len(report.Items))
	for _, item := range report.Items {
		p := item.Prediction
		if p == nil {
			p = &apiv1.NVMePrediction{} // an older labd
		}
		rows = append(rows, []string{strings.TrimPrefix(item.ID, "nvme/"), model(item), item.Serial, item.Rung, p.Kernel, p.Outcome, p.Confidence, p.Reason})
	}
	if len(rows) > 0 {
		a.tableRows(header, rows, func(r int) string { return outcomeVerdict(rows[r][5]) })
	}
}

// outcomeVerdict is how bad an outcome is.
func outcomeVerdict(outcome string) string {
	switch outcome {
	case "recognised":
		return "ok"
	case "ids-cleared":
		return apiv1.SeverityInfo
	case "refused", "not-ready":
		return apiv1.SeverityFail
	default:
		return apiv1.SeverityWarn
	}
}

// predictionExit is the exit code of the worst outcome.
func predictionExit(items []apiv1.NVMeItem) error {
	var outcomes []apiv1.Finding
	for _, item := range items {
		if item.Prediction != nil {
			outcomes = append(outcomes, apiv1.Finding{Severity: outcomeVerdict(item.Prediction.Outcome)})
		}
	}
	return checkExit(outcomes)
}
