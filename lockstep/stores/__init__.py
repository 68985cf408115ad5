"""The Feast plug-ins: offline store, online store and materialization engine. A Feast user names them in
feature_store.yaml.
"""

__all__: list[str] = []
