"""Reports read artefacts from disk only; every plot is a ``..._data`` function and a ``draw_...`` function.

Neither torch nor nnU-Net is imported, and matplotlib is used without pyplot. The way of a report:
:mod:`~nnunet_iac.reports.artefacts` reads a results folder into frozen records,
:mod:`~nnunet_iac.reports.sections` makes blocks of text, tables and pictures of them,
:mod:`~nnunet_iac.reports.page` turns those into one HTML page, and :mod:`~nnunet_iac.reports.report` writes it.
"""
