"""What a training script imports to train a model as a study's winner was trained.

    from sweeper.best import prepare
    engine = prepare("results/<study>/best", model)

``best/launch.sh your_script.py`` starts the script as the trial was started.
"""

from sweeper.worker.exported import prepare

__all__ = ["prepare"]
