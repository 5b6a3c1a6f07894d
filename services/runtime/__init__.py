"""What every process needs: settings, logs, metrics, traces, health."""
