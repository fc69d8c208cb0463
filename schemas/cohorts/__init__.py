"""What is worth saying about cohorts, as data. Counting them is the job of `api`."""

from schemas.cohorts.model import SHIPPED, CohortRules, LowRetention, load_cohort_rules, shipped_cohort_rules

__all__ = ["SHIPPED", "CohortRules", "LowRetention", "load_cohort_rules", "shipped_cohort_rules"]
