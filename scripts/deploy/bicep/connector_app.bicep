// The connector's registration, which may call the endpoint. It is declared twice (see main.bicep): what it may call has to
// exist before it can be named, and lets the connector in before that.
extension microsoftGraphV1

param name string
param connectorRedirectUri string
param connectorIssuer string
param connectorSubject string
param apiClientId string
param scopeId string

resource connector 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: '${name}-connector'
  displayName: '${name} connector'
  signInAudience: 'AzureADMyOrg'
  api: {
    requestedAccessTokenVersion: 2
  }
  requiredResourceAccess: empty(apiClientId)
    ? []
    : [
        {
          resourceAppId: apiClientId
          resourceAccess: [
            {
              id: scopeId
              type: 'Scope'
            }
          ]
        }
      ]
  web: {
    redirectUris: empty(connectorRedirectUri) ? [] : [connectorRedirectUri]
    implicitGrantSettings: {
      enableAccessTokenIssuance: false
      enableIdTokenIssuance: false
    }
  }

  resource credential 'federatedIdentityCredentials@v1.0' = if (!empty(connectorIssuer)) {
    name: '${name}-connector/power-platform'
    description: 'The managed identity that Power Platform has for the custom connector'
    audiences: ['api://AzureADTokenExchange']
    issuer: connectorIssuer
    subject: connectorSubject
  }
}

resource principal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: connector.appId
}

output clientId string = connector.appId
