"""Fine-tuning: tasks, stability techniques, one loop (Gu et al. 2020, section 2.4; Tinn et al. 2021)."""
